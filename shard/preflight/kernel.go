package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Kernel is what objects are held against.
type Kernel struct {
	ID      string
	Release string
	Arch    string

	types   *btf.Spec        // nil: none, or not known
	foreign bool             // types are from elsewhere, and the kernel itself has none
	noTypes bool             // it is known that there are none
	order   binary.ByteOrder // of types
	symbols symbols          // empty: not known
	config  image.Config     // nil: not known

	readModules func() (moduleIndex, error) // nil: nothing is known of the kernel's modules
	modules     *moduleIndex                // once read
	allModules  func() (moduleIndex, error) // readModules, of a kernel that is to load only some
	noModules   bool                        // it is to load none
}

// symbolLines are the lines of [symbols]: a kernel's symbols, and what is known
// of some by where they are, with a colon, which no symbol has.
func symbolLines(list []image.Symbol) symbols {
	lines := make([]string, 0, len(list)+1000)
	flagged := map[string]bool{} // sets with flags, such as those of kfuncs since 6.0
	for _, s := range list {
		if name, ok := strings.CutPrefix(s.Name, "__BTF_ID__set8__"); ok {
			flagged[name] = true
		}
	}
	for _, s := range list {
		typ := s.Type
		if s.NoTrace {
			typ = notTraced
		}
		lines = append(lines, s.Name+" "+string(rune(typ)))
		switch {
		case s.In == "":
		case s.In == image.NoProbes:
			lines = append(lines, noProbes+s.Name+" r")
		default:
			name := strings.TrimPrefix(s.Name, "__BTF_ID__func__")
			if i := strings.LastIndex(name, "__"); i > 0 {
				lines = append(lines, inSet+s.In+":"+name[:i]+" r", inSet+s.In+": r")
				// Others are of functions that may be modified.
				if strings.Contains(s.In, "kfunc") || flagged[s.In] && !strings.Contains(s.In, "fmodret") && !strings.Contains(s.In, "modify_return") {
					lines = append(lines, kfuncs+name[:i]+" r")
				}
			}
		}
	}
	return sorted(lines)
}

// What lines of symbols with a colon say.
const (
	noProbes = "noprobes:" // and a function: it is in a section that nothing can be attached to
	inSet    = "set:"      // and a set, a colon and a function that is in it; without one for the set itself
	kfuncs   = "kfunc:"    // and a function that is in a set of kfuncs
)

// setBTF takes a kernel's types; there may be none.
func (k *Kernel) setBTF(raw []byte) error {
	if len(raw) == 0 {
		k.noTypes = true
		return nil
	}
	// In the kernel's order, as an object is relocated against it.
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(image.BTFInOrder(raw, k.order)))
	if err != nil {
		return fmt.Errorf("read the BTF of %s: %w", k.ID, err)
	}
	k.types = spec
	return nil
}

// off says whether the kernel is known to be built without an option.
func (k *Kernel) off(option string) bool {
	return k.config != nil && (k.config[option] == "" || k.config[option] == "n")
}

// symbols are lines of a name, a space and a type, sorted. As one text they take
// a third of the memory that they take as strings.
type symbols string

// sorted makes lines of a list.
func sorted(list []string) symbols {
	slices.Sort(list)
	if len(list) == 0 {
		return ""
	}
	return symbols(strings.Join(list, "\n") + "\n")
}

// from returns the lines that start with prefix, and what is behind them.
func (s symbols) from(prefix string) symbols {
	low, high := 0, len(s) // where lines start
	for low < high {
		mid := low + (high-low)/2
		mid = low + strings.LastIndexByte(string(s[low:mid]), '\n') + 1
		line, _, _ := strings.Cut(string(s[mid:]), "\n")
		if line < prefix {
			low = min(len(s), mid+len(line)+1)
		} else {
			high = mid
		}
	}
	return s[low:]
}

// lines are those that start with prefix.
func (s symbols) lines(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for rest := s.from(prefix); strings.HasPrefix(string(rest), prefix); {
			line, behind, _ := strings.Cut(string(rest), "\n")
			if line == "" || !yield(line) {
				return
			}
			rest = symbols(behind)
		}
	}
}

// each calls fn for the symbols that start with prefix, until it returns false.
func (s symbols) each(prefix string, fn func(name string, typ byte) bool) {
	for line := range s.lines(prefix) {
		n := len(line) - 2
		if n < 0 || !fn(line[:n], line[n+1]) {
			return
		}
	}
}

// named counts the symbols of a name, and says the type of the last.
func (s symbols) named(name string) (n int, typ byte) {
	s.each(name+" ", func(_ string, t byte) bool {
		n, typ = n+1, t
		return true
	})
	return n, typ
}

// has says whether there is a symbol of a name.
func (s symbols) has(name string) bool { return s.any(name + " ") }

// any says whether there is a symbol that starts with prefix.
func (s symbols) any(prefix string) (found bool) {
	s.each(prefix, func(string, byte) bool {
		found = true
		return false
	})
	return found
}

// setsLike says whether a function is in a set with part in its name.
func (s symbols) setsLike(part, function string) (found bool) {
	s.each(inSet, func(line string, _ byte) bool {
		set, name, _ := strings.Cut(strings.TrimPrefix(line, inSet), ":")
		found = found || name == function && strings.Contains(set, part)
		return !found
	})
	return found
}

// notTraced is the type of a function that ftrace cannot trace, of a kernel of
// which that is known.
const notTraced = 'x'

func isText(typ byte) bool { return strings.IndexByte("tTwWx", typ) >= 0 }

// untraced says whether a function is there, and ftrace cannot trace it.
func (s symbols) untraced(name string) bool {
	n, typ := s.named(name)
	return n == 1 && typ == notTraced
}

// copies are what the compiler made of a function: name.isra.0, name.cold ...
func (s symbols) copies(name string) (list []string) {
	s.each(name+".", func(full string, typ byte) bool {
		if isText(typ) && len(list) < 16 {
			list = append(list, full)
		}
		return true
	})
	return list
}

// TakeTypes gives a kernel without types those that files have for it, if any.
func (k *Kernel) TakeTypes(ctx context.Context, files *btfhub.Files) error {
	if !k.noTypes {
		return nil
	}
	distro, _, _ := strings.Cut(k.ID, "/")
	b, err := files.Find(ctx, kernel.Ref{Distro: distro, Release: k.Release, Arch: k.Arch})
	if err != nil || b == nil {
		return err
	}
	k.noTypes, k.foreign = false, true
	return k.setBTF(b)
}
