package preflight

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/klauspost/compress/zstd"

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
	strings int              // length of the strings of types, in bytes

	readModules func() (moduleIndex, error) // nil: nothing is known of the kernel's modules
	modules     *moduleIndex                // once read
	allModules  func() (moduleIndex, error) // readModules, of a kernel that is to load only some
	noModules   bool                        // it is to load none
}

// Names of a kernel's indexes beside it in the cache. They change with the
// indexes' form. That of modules is only made for kernels that lack something,
// as it takes a pass over all modules: 3 to 10 s.
const (
	indexName   = "preflight-6.zst"
	modulesName = "preflight-modules-4.zst"
)

const (
	maxBTF   = 128 << 20
	maxIndex = 256 << 20 // bytes, decompressed
)

// Load reads what is known of a kernel without booting it. The first time it
// unpacks the kernel into scratch, a directory, and keeps an index beside it in
// the cache (about 2 MB); then it takes some 40 ms. vmlinux is the kernel where
// it is unpacked already, or "".
func Load(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string) (*Kernel, error) {
	k := &Kernel{ID: im.ID(), Release: im.Release, Arch: im.Arch, order: binary.LittleEndian}
	path, err := im.Derived(ctx, c, indexName, func(w io.Writer) error {
		raw, list, err := makeIndex(ctx, im, scratch, vmlinux)
		if err != nil {
			return err
		}
		return writeIndex(w, raw, list)
	})
	if err != nil {
		return nil, err
	}
	raw, list, err := readIndex(path)
	if err == nil {
		k.symbols = list
		err = k.setBTF(raw)
	}
	if err != nil {
		os.Remove(path) // made anew the next time
		return nil, fmt.Errorf("read the index of %s: %w", im.ID(), err)
	}
	if im.Config != "" {
		k.config, _ = im.ReadConfig("") // not known
	}
	k.readModules = func() (moduleIndex, error) { return loadModules(ctx, im, c, k) }
	return k, nil
}

// makeIndex reads a kernel's BTF and symbols.
func makeIndex(ctx context.Context, im *kernel.Image, scratch, vmlinux string) (raw []byte, list symbols, err error) {
	if vmlinux == "" {
		vmlinux = path.Join(scratch, "preflight-"+kernel.SafeName(im.ID()))
		switch err := im.Vmlinux(ctx, vmlinux); {
		case errors.Is(err, image.ErrNoVmlinux) && im.Info.Format == image.FormatImage:
			vmlinux = im.Kernel
		case err != nil:
			return nil, "", err
		default:
			defer os.Remove(vmlinux)
		}
	}
	if raw, err = image.RawBTF(vmlinux); err != nil && !errors.Is(err, image.ErrNoBTF) {
		return nil, "", err
	}
	found, err := image.Symbols(vmlinux)
	if err != nil && !errors.Is(err, image.ErrNoSymbols) {
		return nil, "", err
	}
	return raw, symbolLines(found), nil
}

// writeIndex writes bytes and lines behind their lengths, compressed and with a
// checksum.
func writeIndex(w io.Writer, raw []byte, list symbols) error {
	zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(raw)))
	_, err = zw.Write(binary.LittleEndian.AppendUint64(head, uint64(len(list))))
	if err == nil {
		_, err = zw.Write(raw)
	}
	if err == nil {
		_, err = io.WriteString(zw, string(list))
	}
	return errors.Join(err, zw.Close())
}

// readIndex reads what writeIndex wrote.
func readIndex(path string) (raw []byte, list symbols, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	zr, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxIndex))
	if err != nil {
		return nil, "", err
	}
	defer zr.Close()
	var head [16]byte
	if _, err := io.ReadFull(zr, head[:]); err != nil {
		return nil, "", err
	}
	var types bytes.Buffer
	var text strings.Builder
	for i, part := range []interface {
		io.Writer
		Grow(n int)
	}{&types, &text} {
		n := binary.LittleEndian.Uint64(head[8*i:])
		if n > maxIndex {
			return nil, "", fmt.Errorf("it has %d bytes", n)
		}
		part.Grow(int(min(n, 16<<20)))
		if got, err := io.CopyN(part, zr, int64(n)); err != nil {
			return nil, "", fmt.Errorf("it ends after %d of %d bytes: %w", got, n, err)
		}
	}
	// The checksum is behind the last byte.
	if n, err := zr.Read(head[:]); n > 0 || !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("it goes on: %w", err)
	}
	return types.Bytes(), symbols(text.String()), nil
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
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("read the BTF of %s: %w", k.ID, err)
	}
	k.types = spec
	k.strings = int(binary.LittleEndian.Uint32(raw[20:])) // as the library has checked
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

// HasTypes says whether the kernel has types (BTF).
func (k *Kernel) HasTypes() bool { return k.types != nil }

// TakeTypes gives a kernel without types those that files have for it, if any.
func (k *Kernel) TakeTypes(ctx context.Context, im *kernel.Image, files *btfhub.Files) error {
	if !k.noTypes {
		return nil
	}
	b, err := files.Find(ctx, im)
	if err != nil || b == nil {
		return err
	}
	k.noTypes, k.foreign = false, true
	return k.setBTF(b)
}
