package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// unsupportedError is something that this kernel cannot have.
type unsupportedError struct {
	what    string // "map type BloomFilter"
	version string // of the mainline kernel that brought it
	running string // this kernel's version
	built   bool   // this kernel is new enough, and was built without it
}

func (e *unsupportedError) Error() string {
	if e.built {
		return fmt.Sprintf("unsupported: %s came with Linux %s, and this kernel, %s, is built without it", e.what, e.version, e.running)
	}
	return fmt.Sprintf("unsupported: %s came with Linux %s, this kernel is %s", e.what, e.version, e.running)
}

// errNotTried marks programs that are not loaded, whatever the kernel: their
// tests are skipped.
var errNotTried = errors.New("not loaded")

var (
	errReplacement = fmt.Errorf("%w: it replaces a function of another program, which only its own loader knows", errNotTried)
	errNoMember    = errors.New("no struct_ops map of the object has it as a member")
)

// optional is why a program is left out unless it is asked for; nil: it is not.
func optional(section string) error {
	if strings.HasPrefix(section, "?") {
		return fmt.Errorf("%w: its section %q marks it as optional", errNotTried, section)
	}
	return nil
}

// lacks is the error of something that the kernel does not have: unsupported if it
// came with a version that is newer. Else no kernel can be named that has it, and the
// mistake may be the program's.
func (k kernelFacts) lacks(what, version string) error {
	if version == "" || !versionLess(k.release, version) {
		return fmt.Errorf("this kernel, %s, has no %s", k.release, what)
	}
	return &unsupportedError{what: what, version: version, running: k.release}
}

// unsupported is the error of something that a probe of the kernel has not found.
func (k kernelFacts) unsupported(what, version string) error {
	if version == "" || versionLess(k.release, version) {
		return k.lacks(what, version)
	}
	return &unsupportedError{what: what, version: version, running: k.release, built: true}
}

// minimumVersion takes the version out of an error of the library, whose type
// for it is internal: "... not supported (requires >= v5.16)".
func minimumVersion(err error) string {
	m := regexp.MustCompile(`requires >= v?(\d+\.\d+(?:\.\d+)?)`).FindStringSubmatch(err.Error())
	if m == nil {
		return ""
	}
	return m[1]
}

// supports asks the kernel for a program's type.
func (l *loader) supports(ps *ebpf.ProgramSpec) error {
	if err := features.HaveProgramType(ps.Type); errors.Is(err, ebpf.ErrNotSupported) {
		return l.kernel.unsupported("program type "+ps.Type.String(), minimumVersion(err))
	}
	return nil
}

// supportsMap asks the kernel for a map's type.
func (l *loader) supportsMap(m *ebpf.MapSpec) error {
	if m.Type == ebpf.StructOpsMap { // a probe needs a type of the kernel's
		if m.Flags&unix.BPF_F_LINK != 0 && versionLess(l.kernel.release, "6.4") {
			return l.kernel.lacks("section .struct_ops.link", "6.4")
		}
		return nil
	}
	if err := features.HaveMapType(m.Type); errors.Is(err, ebpf.ErrNotSupported) {
		return l.kernel.unsupported("map type "+m.Type.String(), minimumVersion(err))
	}
	if m.InnerMap != nil {
		return l.supportsMap(m.InnerMap)
	}
	return nil
}

// supportedOr returns err, or what is unsupported when that is what it says.
func (l *loader) supportedOr(err error) error {
	var u *unsupportedError
	if errors.As(err, &u) {
		return u
	}
	if !errors.Is(err, ebpf.ErrNotSupported) {
		return err
	}
	what := unsupportedFeature(err)
	if m := regexp.MustCompile(`^kfunc "(\w+)"$`).FindStringSubmatch(what); m != nil {
		return l.missingKfunc(m[1])
	}
	if m := regexp.MustCompile(`^"bpf_struct_ops_(\w+)" doesn't exist in kernel$`).FindStringSubmatch(what); m != nil {
		return l.kernel.lacks("struct_ops "+m[1], structOpsVersion(m[1]))
	}
	if what == "" {
		return err
	}
	return l.kernel.unsupported(what, minimumVersion(err))
}

// unsupportedFeature is what an error of the library says is not supported: the
// innermost text that has something in front of these words.
func unsupportedFeature(err error) string {
	what := ""
	name := regexp.MustCompile(`^(?:program|map) \S+$`) // which one, and no feature
	for ; err != nil; err = errors.Unwrap(err) {
		before, _, found := strings.Cut(err.Error(), "not supported")
		if before = strings.TrimRight(before, ": "); found && before != "" && !name.MatchString(before) {
			what = before
		}
	}
	return what
}

// missingTarget takes the name of the function that a program wants to attach
// to out of the library's error for one that the kernel does not have: "attach
// Tracing/TraceFEntry: fentry NAME not supported". The library calls it
// unsupported, and for the author it is a name that is wrong or gone.
func missingTarget(err error) (string, bool) {
	m := regexp.MustCompile(`attach [\w()]+/[\w()]+: (?:(?:fentry|fexit|fmod_ret|raw_tp) (\S+)|(\S+) (?:LSM hook|iterator)) not supported`).FindStringSubmatch(err.Error())
	if m == nil || !errors.Is(err, ebpf.ErrNotSupported) {
		return "", false
	}
	return m[1] + m[2], true
}
