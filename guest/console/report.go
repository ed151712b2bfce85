package console

import (
	"strings"
	"time"
	"unicode"
)

// rawReport is a report as it comes.
type rawReport struct {
	rule   *rule
	kind   Kind
	taint  uint64
	groups map[string]string
	offset int64
	at     time.Duration
	lines  []string // messages, the first one included
	traced bool     // the back trace has begun
	joined bool     // a cause has its WARN or BUG
}

// complete says whether m comes after the report.
func (o *rawReport) complete(m string) bool {
	if trace().MatchString(m) {
		o.traced = true
	}
	if len(o.lines) > 2 && closing().MatchString(m) {
		return true
	}
	return o.traced && o.rule.set&untilTrace != 0 && !strings.HasPrefix(m, " ") && !frame().MatchString(m) && !trace().MatchString(m) && !noise().MatchString(m)
}

// goesOnWith says whether a line that r recognises belongs to the report.
func (o *rawReport) goesOnWith(r *rule) bool {
	switch {
	case r.set&exception != 0 && o.kind == Oops:
		return true
	case o.rule.set&cause != 0:
		return !o.joined && r.re().String() != o.rule.re().String() && (r.title == "WARNING" || r.title == "kernel BUG")
	default:
		return r.set&follow != 0 && o.rule.title == r.title
	}
}

// join takes what a further line says.
func (o *rawReport) join(r *rule, groups map[string]string) {
	if r.kind == Oops {
		o.kind = Oops
	}
	o.joined = true
	o.taint |= r.taint
	for _, name := range []string{"at", "fn"} {
		if o.groups[name] == "" && groups[name] != "" {
			o.groups[name] = groups[name]
		}
	}
}

var (
	// chance is what differs between two reports of the same.
	chance = re(`(?m)[0-9a-fA-F]*[0-9][0-9a-fA-F]*|^(?:CPU: | *Tainted: ).*$`)

	// "RIP: 0010:foo+0x1/0x2", "RIP: e030:foo", "pc : foo+0x1/0x2 [mod]", "PC is at foo+0x1/0x2".
	// riscv64, s390x and ppc64le: "epc : foo+0x1/0x2", "Krnl PSW : 07... 00... (foo+0x1/0x2)", "NIP [c0...] foo+0x1/0x2".
	kernelPC = re(`^(?:RIP: (?:0010|e030|0018):|e?pc : |PC is at |Krnl PSW : [0-9a-f]+ [0-9a-f]+ \(|NIP \[[0-9a-f]+\] )(?:\[<[0-9a-f]+>\] )?([\w.$]+)(\+0x[0-9a-f]+/0x[0-9a-f]+)`)
	trace    = re(`^(?:Call [Tt]race:|Backtrace:)`)
	closing  = re(`^={20,} *$`)
	frame    = re(`^ *\(?(?:\[<?[0-9a-f]+>?\] ){0,2}(\? )?(?:[a-z_]+: )?([\w.$]+)(\+0x[0-9a-f]+/0x[0-9a-f]+)`)

	// Registers and code, user space's state, and what is the same in all.
	noise = re(`^(?:` +
		`(?:[REC]?[ABCDS]X|R[SBD]?[IP]?\d*|R\d\d|ORIG_RAX|RSP|RBP|RDI|RSI|EFLAGS|FS|GS|CS|DS|CR[0-4]|DR[0-7]|PKRU): ?[ 0-9a-f(].*|` +
		`RSP: .*|RIP: (?:0033|0023):.*|[Cc]ode: .*|` +
		` *(?:x\d+ ?: ?[0-9a-f]+ ?)+|sp : .*|pstate: .*|pmr_save: .*|lr : .*|` +
		` *(?:[a-z]\w{1,2} ?: [0-9a-f]{16} ?)+|status: .*badaddr: .*|epc : [0-9a-f]+ ra : .*|` +
		` *Krnl (?:GPRS|Code):.*|  +(?:[0-9a-f]{16} ?)+|  +R:\d T:.*|` +
		`NIP: .*|REGS: .*|MSR: .*|CFAR: .*|GPR\d\d: .*|LR \[.*|Instruction dump:|` +
		`Modules linked in:.*|Hardware name: .*|Stack: *|Call trace end.*|` +
		`\[[0-9a-f]+\] (?:pgd|p4d|pud|pmd|pte)=.*|user pgtable: .*|swapper pgtable: .*|PGD [0-9a-f]+ .*|` +
		`Mem abort info:|  (?:ESR|EC|SET|EA|FSC|IL|FnV|S1PTW)\b.*|Data abort info:|  (?:ISV|CM|GCS|Overlay|ISS)\b.*|` +
		`=+|</?TASK>| *</?(?:TASK|IRQ|NMI|#DF|#DB|SOFTIRQ|ENTRY_TRAMPOLINE|EOE)>` +
		`) *$`)

	cloneRE   = re(`\.(?:cold|isra|constprop|part|llvm|lto_priv)(?:\.\d+)*`)
	bpfProgRE = re(`^bpf_prog_[0-9a-f]{16}`)

	// Functions that report, wait, or are called by everybody: what they were
	// called for is in their callers.
	helperRE = re(`^(?:` +
		`dump_stack(?:_lvl)?|dump_backtrace\w*|dump_stack_print_info|walk_stackframe|arch_stack_walk|stack_trace_\w+|trace_hardirqs_o(?:n|ff)\w*|bad_page|dump_page|do_tag_check_fault|dump_header|show_stack\w*|__show_\w+|show_regs\w*|v?panic|nmi_panic|__warn\w*|warn_slowpath\w*|report_bug|handle_bug|` +
		`exc_\w+|asm_\w+|error_entry|do_error_trap|do_trap|(?:__)?die\w*|die|oops_\w+|no_context|page_fault_oops|kernelmode_fixup_or_oops|__bad_area\w*|bad_area\w*|do_user_addr_fault|do_kern_addr_fault|` +
		`do_page_fault|__do_page_fault|page_fault|general_protection|invalid_op|do_invalid_op|do_general_protection|el1\w*|do_mem_abort|do_translation_fault|die_kernel_fault|__do_kernel_fault|` +
		`_*v?printk\w*|print_\w+|_*kasan_\w+|__asan_\w+|kfence_\w+|ubsan_\w+|__ubsan_\w+|check_memory_region\w*|check_region_inline|(?:__|__h)?(?:kcsan|kmsan|tsan|msan|hwasan|sanitizer)_\w+|handle_overflow|end_report|` +
		`refcount_warn_saturate|__list_(?:add|del)_\w+|fortify_panic|__fortify_\w+|__stack_chk_fail|usercopy_abort|` +
		`watchdog_\w+|nmi_\w+|trigger_\w+|arch_trigger\w+|rcu_dump\w*|rcu_check\w*|rcu_sched_clock_irq|sched_show_task|show_state\w*|` +
		`__schedule\w*|schedule|schedule_(?:timeout|hrtimeout|preempt|idle|rtlock)\w*|preempt_schedule\w*|dynamic_\w*resched|(?:__)?cond_resched\w*|io_schedule\w*|` +
		`(?:__)?wait_for_\w+|wait_for_\w+|do_wait_for_\w+|__wait_\w+|bit_wait\w*|out_of_line_wait\w*|msleep\w*|usleep\w*|__fdget\w*|` +
		`__mutex_\w+|mutex_lock\w*|__down\w*|down(?:_read|_write|_killable|_interruptible|_timeout|_trylock)?|rwsem_\w+|rt_mutex\w*|percpu_down_\w+|__percpu_\w+|` +
		`__might_\w+|___might_\w+|_raw_(?:spin|read|write)_\w+|do_raw_\w+|native_\w+|queued_\w+|__pv_\w+|pv_\w+|delay_\w+|__delay|__const_udelay|__udelay|` +
		`(?:__)?lock_acquire\w*|lock_release|validate_chain|check_(?:noncircular|prev_add|prevs_add|irq_usage|usage|deadlock|flags|preemption_disabled)\w*|mark_lock\w*|mark_held_locks|valid_state|register_lock_class|lock_downgrade|spin_(?:dump|bug)|lockdep_\w+|_*debug_\w+|` +
		`out_of_memory|oom_kill_process|` +
		`check_bytes_and_report|get_partial\w*|new_slab|allocate_slab|free_to_partial_list|slab_err|object_err|slab_(?:bug|fix|pad_check)\w*|check_(?:object|slab)|(?:alloc|free)_debug_processing|` +
		`_*slab_(?:alloc|free|pre_alloc|post_alloc)\w*|_*kmem_cache_(?:alloc|free)\w*|_*kv?malloc\w*|kv?free|` +
		`(?:__)?mem(?:cpy|set|move|cmp)\w*|memcpy_\w+|rep_\w+|copy_user_\w+|_*copy_(?:from|to)_user\w*|_*call_rcu\w*|init_timer_key|str(?:len|cmp|ncmp|cpy|ncpy|nlen|scpy)|sized_strscpy` +
		`)$`)
)

// place is a function with the offset in it.
type place struct{ fn, offset string }

// finding is what the report says.
func (o *rawReport) finding() Finding {
	places := o.places()
	fn, location := "", o.groups["at"]
	if pos := o.groups["pos"]; location == "" && pos != "" && !helperRE().MatchString(tidy(o.groups["fn"])) {
		location = o.groups["fn"] + pos
	}
	if g := o.groups["fn"]; g != "" && !helperRE().MatchString(tidy(g)) {
		fn = tidy(g)
	}
	for _, p := range places {
		if fn != "" && tidy(p.fn) != fn {
			continue
		}
		if fn == "" && helperRE().MatchString(tidy(p.fn)) {
			continue
		}
		fn = tidy(p.fn)
		if location == "" {
			location = p.fn + p.offset
		}
		break
	}
	if fn == "" && o.groups["fn"] != "" {
		fn = tidy(o.groups["fn"]) // a helper is better than nothing
	}

	title := o.rule.title
	what := o.groups["what"]
	if o.rule.set&words != 0 {
		what = plain(what)
	}
	if more := o.groups["more"]; more != "" {
		what += ": " + more
	}
	title += what
	if o.rule.set&bare == 0 && fn != "" {
		title += " in " + fn
	}
	return Finding{
		Kind: o.kind, Title: oneLine(title), Location: cutTo(oneLine(location), maxTitle),
		Offset: o.offset, At: o.at, Excerpt: o.excerpt(), Taint: o.taint, Impossible: o.impossible(),
	}
}

// places are the functions that the report names, what matters most first:
// where the kernel was, then who called it.
func (o *rawReport) places() []place {
	var pcs, sure, unsure []place
	traced := false
	for _, l := range o.lines {
		if m := kernelPC().FindStringSubmatch(l); m != nil {
			pcs = append(pcs, place{m[1], m[2]})
			continue
		}
		if trace().MatchString(l) {
			traced = true
			continue
		}
		m := frame().FindStringSubmatch(l)
		switch {
		case !traced || m == nil:
		case m[1] != "":
			unsure = append(unsure, place{m[2], m[3]})
		default:
			sure = append(sure, place{m[2], m[3]})
		}
	}
	if len(pcs) > 1 {
		pcs = pcs[:1] // further ones are of the callers, and of other CPUs
	}
	return append(append(pcs, sure...), unsure...)
}

// tidy takes off a function's name what differs from build to build.
func tidy(fn string) string {
	fn = cloneRE().ReplaceAllString(fn, "")
	return bpfProgRE().ReplaceAllString(fn, "bpf_prog")
}

// excerpt is the report for people: without registers, and without frames that
// are none where there are others.
func (o *rawReport) excerpt() string {
	sure := false
	for _, l := range o.lines {
		if m := frame().FindStringSubmatch(l); m != nil && m[1] == "" && strings.HasPrefix(l, " ") {
			sure = true
		}
	}
	var b strings.Builder
	for _, l := range o.lines {
		m := frame().FindStringSubmatch(l)
		if noise().MatchString(l) || sure && m != nil && m[1] != "" {
			continue
		}
		l = strings.TrimRight(printable(l), " \t")
		if strings.TrimSpace(l) == "" {
			continue
		}
		if b.Len()+len(l)+1 > maxExcerpt {
			break
		}
		b.WriteString(l + "\n")
	}
	return b.String()
}

// oneLine is s as a title.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(printable(s)), " ")
	if len(s) > maxTitle {
		return cutTo(s, maxTitle-3) + "..."
	}
	return s
}

func cutTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.TrimSpace(strings.ToValidUTF8(s[:n], ""))
}

// printable drops what a terminal or a report would act on.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "?"))
}
