package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// failure is what is known of a program that could not be loaded, whichever
// loader it was.
type failure struct {
	section  string
	typ      ebpf.ProgramType
	insns    asm.Instructions         // as the object has them; nil: not known
	types    *btf.Spec                // the object's; nil: not known
	maps     map[string]*ebpf.MapSpec // the object's, with types and flags at least; nil: not known
	err      error                    // the loader's
	log      []string                 // the verifier's
	messages []string                 // what libbpf printed
}

// explain gives the reason, in one line, why a program could not be loaded: an
// *unsupportedError where this kernel cannot have it.
func (l *loader) explain(f failure) error {
	line := verdictLine(f.log)
	if line != "" {
		if err := l.fromVerifier(f, line); err != nil {
			return err
		}
	} else if err := l.fromLibbpf(f); err != nil {
		return err
	}
	if target, ok := missingTarget(f.err); ok {
		return l.noTarget(f.section, target)
	}
	var verr *ebpf.VerifierError
	var errno unix.Errno // all that counts of libbpf's error, which quotes its messages
	cause := f.err
	switch isErrno := errors.As(f.err, &errno); {
	case errors.As(f.err, &verr):
		cause = verr.Cause
	case isErrno:
		cause = errno
	}
	switch {
	case l.kernel.jit != "" && (line == "" || strings.Contains(line, "JIT")) && (errors.Is(cause, unix.ENOMEM) || errors.Is(cause, unix.EINVAL)):
		return fmt.Errorf("rejected: %w: %s", cause, l.kernel.jit)
	case errors.Is(f.err, ebpf.ErrNotSupported):
		return l.supportedOr(f.err)
	case line != "":
		return fmt.Errorf("rejected: %s (%w)", line, cause)
	case verr != nil || cause == errno && len(f.messages) > 0:
		return fmt.Errorf("rejected: %w", cause)
	}
	return inOurWords(f.err)
}

// fromVerifier names what the verifier's reason is about. nil: the line says it
// itself.
func (l *loader) fromVerifier(f failure, line string) error {
	var kernel *btf.Spec
	if l.types != nil {
		kernel, _ = l.types.Kernel() // without it the reason says less
	}
	tail := unexplained(f.log)
	log := strings.Join(tail[max(0, len(tail)-40):], "\n")
	poisoned := regexp.MustCompile(`(?m)call unknown#195896080$|\(18\) r10 = 0xbad2310\b`)
	if m := regexp.MustCompile(`(?m)^failed to resolve CO-RE relocation (.*)$`).FindStringSubmatch(log); m != nil {
		return fmt.Errorf("CO-RE: %s", describeLibbpfRelocation(m[1], kernel))
	}
	if poisoned.MatchString(log) {
		if what := badRelocation(f.insns, lastInsn(f.log), f.types, kernel); what != "" {
			return fmt.Errorf("CO-RE: %s", what)
		}
		return errors.New("CO-RE: a relocation has no match in this kernel's types")
	}
	if m := regexp.MustCompile(`(?m)^kfunc '(\w+)' is referenced but wasn't resolved$`).FindStringSubmatch(log); m != nil {
		// libbpf leaves out a weak kfunc whose prototype is another, too.
		var fn *btf.Func
		if kernel != nil && kernel.TypeByName(m[1], &fn) == nil {
			return fmt.Errorf("kfunc %s has another prototype on this kernel", m[1])
		}
		return l.missingKfunc(m[1])
	}
	if m := regexp.MustCompile(`(?m)^BPF map '(\S+)' is referenced but wasn't created$`).FindStringSubmatch(log); m != nil {
		return fmt.Errorf("rejected: it uses map %s, which was not created", m[1])
	}
	if m := regexp.MustCompile(`^calling kernel function (\w+) is not allowed$`).FindStringSubmatch(line); m != nil {
		return fmt.Errorf("rejected: this kernel, %s, has kfunc %s not for program type %s", l.kernel.release, m[1], f.typ)
	}
	if line == "Tracing programs must provide btf_id" {
		return fmt.Errorf("its section %q names nothing to attach to", f.section)
	}
	if name, number, ok := calledHelper(line); ok {
		if isKfunc(number) {
			return l.missingKfunc(kfuncAt(f.insns, lastInsn(f.log)))
		}
		return l.missingHelper(name, number, f.typ)
	}
	if strings.HasPrefix(line, "number of funcs in func_info") && versionLess(l.kernel.release, "5.13") {
		// This kernel takes no function for a callback of its program, and says so
		// before it looks at who calls it.
		for i := range f.insns {
			if ins := &f.insns[i]; ins.IsBuiltinCall() && versionLess(l.kernel.release, helperVersion(int(ins.Constant))) {
				return l.missingHelper(helperName(asm.BuiltinFunc(ins.Constant)), int(ins.Constant), f.typ)
			}
		}
	}
	if what, version := missingInstruction(line, l.kernel.release); what != "" {
		return l.kernel.lacks(what, version)
	}
	return nil
}

// missingKfunc is the reason of a call of a kernel function that is not there.
// name may be "".
func (l *loader) missingKfunc(name string) error {
	if name == "" {
		return l.kernel.lacks("kfunc that the program calls", "")
	}
	return l.kernel.lacks("kfunc "+name, kfuncVersion(name))
}

// missingHelper is the reason of a call of a helper that is not there, or not for
// programs of this type.
func (l *loader) missingHelper(name string, number int, typ ebpf.ProgramType) error {
	return l.kernel.lacks(fmt.Sprintf("helper %s for program type %s", name, typ), helperVersion(number))
}

// noTarget is the reason of a program whose function, tracepoint or hook is not
// in the kernel's BTF.
func (l *loader) noTarget(section, target string) error {
	err := fmt.Errorf("this kernel's BTF has no function or hook to attach to: %s", target)
	kind, _, _ := strings.Cut(strings.TrimPrefix(section, "?"), "/")
	if kind = strings.TrimSuffix(kind, ".s"); strings.HasPrefix(kind, "f") { // fentry, fexit, fmod_ret, fsession
		if why := l.kernel.functionNote(target); why != "" {
			err = fmt.Errorf("%w, which %s", err, why)
		}
	}
	return err
}

// libbpfReasons are the messages of libbpf that give the reason of a failure, in
// our words with what the message names, or as an error. Its other messages are
// about what it goes on without, or repeat that it failed.
var libbpfReasons = []struct {
	message *regexp.Regexp
	text    string
	err     func(l *loader, f failure, name string) error
}{
	{regexp.MustCompile(`^prog '.*': missing BPF prog type, check ELF section name '(.*)'$`), `its section "$1" says no program type that libbpf knows: want one of its names, such as kprobe/do_exit`, nil},
	{regexp.MustCompile(`^extern \(func ksym\) '(.*)': func_proto \[\d+\] incompatible with (\S+) `), "kfunc $1 has another prototype in this kernel's $2", nil},
	{regexp.MustCompile(`^extern \(var ksym\) '(.*)': not found in kernel BTF$`), "this kernel's BTF has no variable $1", nil},
	{regexp.MustCompile(`^extern \(var ksym\) '(.*)': incompatible types, expected \[\d+\] (.*), but kernel has \[\d+\] (.*)$`), "the kernel's variable $1 is of type $3, not $2", nil},
	{regexp.MustCompile(`^extern '(CONFIG_.*)' \(strong\): not resolved$`), "this kernel's configuration does not set $1", nil},
	{regexp.MustCompile(`^extern '(.*)' \(strong\): not resolved$`), "this kernel has no symbol $1", nil},
	{regexp.MustCompile(`^extern \(kcfg\) '(.*)': (.*)$`), "option $1 of the kernel's configuration: $2", nil},
	{regexp.MustCompile(`^failed to open system Kconfig$`), "the kernel's configuration cannot be read", nil},
	{regexp.MustCompile(`^(?:Error loading vmlinux BTF: .*|failed to find valid kernel BTF|vmlinux BTF is not found)$`), "the program needs the kernel's BTF, which is missing", nil},
	{regexp.MustCompile(`^Error loading \.BTF into kernel: (.*)\. BTF is mandatory`), "the kernel does not take the object's BTF: $1", nil},
	{regexp.MustCompile(`^BTF is required, but is missing or corrupted\.$`), "the object has no BTF: build it with -g, and do not strip .BTF", nil},
	{regexp.MustCompile(`^elf: legacy map definitions in 'maps' section`), `the object defines maps in a section "maps", which libbpf 1.0 and later refuse: define them in ".maps"`, nil},
	{regexp.MustCompile(`^sec '(.*)': program '(.*)' is static and not supported$`), `the object has a static program, $2 in section "$1", which libbpf does not take`, nil},
	{regexp.MustCompile(`^prog '.*': SEC\("struct_ops"\) program isn't referenced anywhere`), errNoMember.Error(), nil},
	{regexp.MustCompile(`^prog '.*': attach program FD is not set()$`), "", func(*loader, failure, string) error {
		return errReplacement
	}},
	{regexp.MustCompile(`^prog '.*': no BTF-based attach target is specified()`), "", func(_ *loader, f failure, _ string) error {
		return fmt.Errorf("its section %q names nothing to attach to", f.section)
	}},
	{regexp.MustCompile(`^prog '.*': failed to find kernel BTF type ID of '(.*)': `), "", func(l *loader, f failure, target string) error {
		return l.noTarget(f.section, target)
	}},
	{regexp.MustCompile(`^extern \(func ksym\) '(.*)': not found in kernel or module BTFs$`), "", func(l *loader, _ failure, kfunc string) error {
		return l.missingKfunc(kfunc)
	}},
	{regexp.MustCompile(`^struct_ops init_kern: struct (?:bpf_struct_ops_)?(\S+) is not found in kernel BTF$`), "", func(l *loader, _ failure, name string) error {
		return l.kernel.lacks("struct_ops "+name, structOpsVersion(name))
	}},
	{regexp.MustCompile(`^struct_ops init_kern (\S+: Cannot find member \S+) in kernel BTF$`), "", func(l *loader, _ failure, names string) error {
		ops, member, _ := strings.Cut(names, ": Cannot find member ")
		return l.kernel.lacks(fmt.Sprintf("member %s of struct_ops map %s", member, ops), "")
	}},
	{regexp.MustCompile(`^map '(.*': failed to create(?: inner map)?: -?\S+?)(?:\(.*)?$`), "", func(l *loader, f failure, what string) error {
		name, code, _ := strings.Cut(what, "': failed to create")
		if ms := f.maps[name]; ms != nil {
			if err := l.supportsMap(ms); err != nil {
				return err
			}
		}
		hint := ""
		if ms := f.maps[name]; ms != nil && (ms.Type == ebpf.ArrayOfMaps || ms.Type == ebpf.HashOfMaps) {
			hint = fmt.Sprintf("; where the application sets its inner map, give --map %s:inner=MAP", name)
		}
		return fmt.Errorf("map %s cannot be created: %s%s", name, code[strings.LastIndexAny(code, " -")+1:], hint)
	}},
}

// repeated are messages that say only that something failed, or was left out.
var repeated = regexp.MustCompile(`^prog '.*': (?:failed to (?:load|prepare load attributes|initialize)|BPF program load failed|-- BEGIN PROG LOAD LOG)|^failed to (?:load object|perform CO-RE relocations)|skipping|ignoring|Retrying|defaulting to zero|^permission error while`)

// fromLibbpf finds the reason in what libbpf printed. nil: it gives none.
func (l *loader) fromLibbpf(f failure) error {
	var other, ofBTF string
	inBTF := false // the kernel's log of the object's types, hundreds of lines
	for _, message := range f.messages {
		message = strings.TrimSpace(strings.TrimPrefix(message, "libbpf: "))
		switch {
		case strings.HasPrefix(message, "BTF loading error: "):
			inBTF = true
			continue
		case strings.HasPrefix(message, "-- END BTF LOAD LOG --"):
			inBTF = false
			continue
		case inBTF && !strings.HasPrefix(message, "Error loading .BTF"):
			ofBTF = message
			continue
		case inBTF:
			inBTF = false
		}
		for _, r := range libbpfReasons {
			if m := r.message.FindStringSubmatchIndex(message); m != nil {
				if r.err != nil {
					return r.err(l, f, message[m[2]:m[3]])
				}
				err := errors.New(string(r.message.ExpandString(nil, r.text, message, m)))
				if ofBTF != "" && strings.HasPrefix(message, "Error loading .BTF") {
					err = fmt.Errorf("%w: %s", err, ofBTF)
				}
				return err
			}
		}
		if other == "" && !repeated.MatchString(message) {
			other = message
		}
	}
	if other == "" {
		return nil
	}
	return fmt.Errorf("libbpf: %s", strings.ReplaceAll(other, "\n", " "))
}

// inOurWords words an error of ebpf-go that is not about the verifier.
func inOurWords(err error) error {
	text := err.Error()
	if m := regexp.MustCompile(`kfunc "(\w+)": (type mismatch .*)$`).FindStringSubmatch(text); m != nil {
		return fmt.Errorf("kfunc %s has another prototype on this kernel: %s", m[1], m[2])
	}
	if m := regexp.MustCompile(`config option "(\w+)" does not exist on this kernel$`).FindStringSubmatch(text); m != nil {
		return fmt.Errorf("this kernel's configuration does not set %s", m[1])
	}
	return err
}
