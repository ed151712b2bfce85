package preflight

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// KindSeries is the kind of all kernels where nothing is known of what a payload
// depends on.
const KindSeries = "series"

// Kind names everything of a kernel that objects depend on: on two kernels of one
// architecture and kind, the objects find the same. results are those of
// [CheckAll]. It is "" where not all of it is known, and lacks names what, such as
// "build options"; and [KindSeries] where there are no objects.
//
// What changes nothing for a program is not in it: releases, addresses, numbers of
// types, names of parameters, nor where a field is that is accessed with CO-RE: that
// it can be anywhere is what CO-RE is for.
func Kind(objects []*Object, k *Kernel, results []Result) (kind, lacks string) {
	switch {
	case len(objects) == 0:
		return KindSeries, ""
	case k.types == nil && !k.noTypes:
		return "", "types"
	case len(k.symbols) == 0:
		return "", "symbols"
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %t\n", k.Arch, k.foreign)
	if k.config == nil { // what counts of it shows in its functions
		for _, fn := range optionFunctions {
			fmt.Fprintln(h, fn, k.symbols.has(fn))
		}
	}
	modules := map[string]bool{} // what only a module may have
	for i, r := range results {
		fmt.Fprintf(h, "object %q %q\n", objects[i].Name, r.Err)
		wants := objects[i].wants()
		for n, a := range r.Answers {
			if !wants[n] {
				continue
			}
			if d := objects[i].Deps[n]; k.config == nil && (d.Kind == kindConfig || strings.HasPrefix(d.Kind, "lsm")) {
				return "", "build options"
			}
			fmt.Fprintf(h, "%q %d %q %q %q %q %q %t %t %t\n", objects[i].Deps[n], a.Status, a.shapeOr(), a.Want, withoutNumbers(a.Note), a.Breaks, a.Unsure, a.Guarded, a.unattachable, a.attachUnsure)
			if a.elsewhere != "" {
				modules[a.elsewhere] = true
			}
		}
		for _, p := range r.Programs {
			fmt.Fprintf(h, "program %q %d %d %q %q %x\n", p.Name, p.Loads, p.Attaches, p.Mistaken, p.Skip, p.finds)
			if p.ownKind {
				fmt.Fprintf(h, "alone %q\n", k.ID)
			}
		}
	}
	if len(modules) > 0 && !k.noModules {
		if k.allModules == nil {
			k.allModules = k.readModules
		}
		if k.allModules == nil {
			return "", "modules"
		}
		m, err := k.allModules()
		if err != nil {
			return "", "modules"
		}
		for name := range m.defined(modules) {
			fmt.Fprintf(h, "module %q\n", name)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16]), ""
}

// optionFunctions are functions that kernels have which are built with an option
// that counts.
var optionFunctions = []string{
	"trace_call_bpf",              // BPF_EVENTS
	"register_kprobe",             // KPROBES
	"__cgroup_bpf_run_filter_skb", // CGROUP_BPF
	"bpf_nf_link_attach",          // NETFILTER_BPF_LINK
	"bpf_int_jit_compile",         // BPF_JIT
	"lirc_prog_attach",            // BPF_LIRC_MODE2
	"sk_msg_alloc",                // NET_SOCK_MSG
	"xsk_map_inc",                 // XDP_SOCKETS
	"cgroup_attach_task",          // CGROUPS
	"bpf_lsm_file_open",           // BPF_LSM
	"register_fprobe",             // FPROBE
	"register_ftrace_direct",      // DYNAMIC_FTRACE_WITH_DIRECT_CALLS
	"within_error_injection_list", // FUNCTION_ERROR_INJECTION
	"perf_syscall_enter",          // FTRACE_SYSCALLS
	"ikconfig_read_current",       // IKCONFIG_PROC
	"module_layout",               // MODULES
}

// copyNumber is what the compiler counts its copies of a function by.
var copyNumber = regexp.MustCompile(`\.(isra|constprop|part|cold|llvm)\.\d+`)

func withoutNumbers(note string) string { return copyNumber.ReplaceAllString(note, ".$1") }

// defined yields the lines of some names, in order.
func (m moduleIndex) defined(names map[string]bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			for line := range m.Lines.lines(name + " ") {
				if !yield(line) {
					return
				}
			}
		}
	}
}

// finds is a digest of what a program finds on the kernel beside its dependencies:
// the instructions that the kernel's types make of its own, but for fields' offsets,
// the values of what its loader sets, and for each flow what it reaches by these and
// the layout of structs that it reads at fixed offsets.
func (c *checker) finds(p *program, insns asm.Instructions, flows ...flow) []byte {
	h := sha256.New()
	for i := range insns {
		if relo := btf.CORERelocationMetadata(&p.insns[i]); relo != nil {
			ins := insns[i]
			if strings.HasPrefix(relo.String(), "CORERelocation(byte_off,") && !poisoned(&ins, &p.insns[i]) {
				ins.Offset, ins.Constant = 0, 0
			}
			fmt.Fprintln(h, i, uint16(ins.OpCode), ins.Dst, ins.Src, ins.Offset, ins.Constant)
		}
		if name := p.kconfig[i]; name != "" && name != versionName {
			fmt.Fprintf(h, "%d %s=%q %t\n", i, name, c.k.config[strings.TrimPrefix(name, "CONFIG_")], c.k.symbols.has(goarch.Lookup(c.k.Arch).Syscall+"sys_bpf"))
		}
	}
	for _, f := range flows {
		if len(p.kconfig) > 0 { // what they choose
			fmt.Fprintln(h, f.reached)
		}
		c.layouts(h, p, f)
	}
	return h.Sum(nil)
}

// layouts writes the structs that a program reads at offsets which nothing
// relocates: those that its arguments point to, and its context where that is a
// struct of the kernel's.
func (c *checker) layouts(h hash.Hash, p *program, f flow) {
	switch fn := c.proto(p.target); {
	case p.target.kind == "iter":
		c.layout(h, "bpf_iter__"+p.target.name)
	case p.target.kind == "tracepoint" && f.context:
		category, name, _ := strings.Cut(p.target.name, "/")
		if category == "syscalls" || c.layout(h, "trace_event_raw_"+name) {
			return
		}
		// It is of a class of events, which nothing names but the symbols of all.
		const class = "event_class_"
		word, _, _ := strings.Cut(name, "_")
		c.k.symbols.each(class+word, func(symbol string, _ byte) bool {
			c.layout(h, "trace_event_raw_"+strings.TrimPrefix(symbol, class))
			return true
		})
	case fn != nil:
		list := fn.Params
		if p.target.tracepoint() && len(list) > 0 {
			list = list[1:]
		}
		for i, param := range list {
			if f.fixed[i] || !f.whole {
				c.layout(h, pointee(param.Type))
			}
		}
	}
}

// layout writes where the members of a struct or union are. It is false where the
// kernel has none of that name.
func (c *checker) layout(h hash.Hash, name string) (found bool) {
	if name == "" {
		return false
	}
	for _, t := range c.k.lookup(name) {
		var members []btf.Member
		switch t := t.(type) {
		case *btf.Struct:
			members = t.Members
		case *btf.Union:
			members = t.Members
		default:
			continue
		}
		found = true
		fmt.Fprintf(h, "%s\n", name)
		for _, m := range members {
			class, _ := shape(m.Type)
			size, _ := btf.Sizeof(m.Type)
			fmt.Fprintf(h, "%q %d %d %d %s %q\n", m.Name, m.Offset, m.BitfieldSize, size, class, pointee(m.Type))
		}
	}
	return found
}
