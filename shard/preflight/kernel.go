package preflight

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Kernel is what objects are held against.
type Kernel struct {
	ID      string
	Release string
	Arch    string

	types   *btf.Spec         // nil: none, or not known
	noTypes bool              // it is known that there are none
	order   binary.ByteOrder  // of types
	symbols symbols           // empty: not known
	config  map[string]string // without CONFIG_; nil: not known
	strings int               // length of the strings of types, in bytes

	readModules func() (moduleIndex, error) // nil: nothing is known of the kernel's modules
	modules     *moduleIndex                // once read
}

// indexName is what a kernel's index is called beside it in the cache. It
// changes with the index's form.
const indexName = "preflight-2.zst"

const (
	maxBTF   = 128 << 20
	maxIndex = 256 << 20 // bytes, decompressed
	maxBuild = 4 << 20   // bytes of a .config
)

// Load reads what is known of a kernel without booting it. The first time it
// unpacks the kernel into scratch, a directory, and keeps an index beside it in
// the cache (about 2 MB); then it takes some 40 ms. vmlinux is the kernel where
// it is unpacked already, or "".
func Load(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string) (*Kernel, error) {
	k := &Kernel{ID: im.ID(), Release: im.Release, Arch: im.Arch, order: binary.LittleEndian}
	path, err := im.Derived(ctx, c, indexName, func(w io.Writer) error {
		return makeIndex(ctx, im, w, scratch, vmlinux)
	})
	if err != nil {
		return nil, err
	}
	if err := k.readIndex(path); err != nil {
		os.Remove(path) // made anew the next time
		return nil, fmt.Errorf("read the index of %s: %w", im.ID(), err)
	}
	k.config = readConfig(im.Config)
	k.readModules = func() (moduleIndex, error) { return loadModules(ctx, im, c, k) }
	return k, nil
}

// makeIndex writes a line with what is there, the BTF and the symbols.
func makeIndex(ctx context.Context, im *kernel.Image, w io.Writer, scratch, vmlinux string) error {
	if vmlinux == "" {
		vmlinux = path.Join(scratch, "preflight-"+kernel.SafeName(im.ID()))
		switch err := im.Vmlinux(ctx, vmlinux); {
		case errors.Is(err, image.ErrNoVmlinux) && im.Info.Format == image.FormatImage:
			vmlinux = im.Kernel
		case err != nil:
			return err
		default:
			defer os.Remove(vmlinux)
		}
	}
	raw, err := image.RawBTF(vmlinux)
	if err != nil && !errors.Is(err, image.ErrNoBTF) {
		return err
	}
	list, err := image.Symbols(vmlinux)
	if err != nil && !errors.Is(err, image.ErrNoSymbols) {
		return err
	}
	zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	bw := bufio.NewWriter(zw)
	text := symbolLines(list)
	fmt.Fprintf(bw, "bpf-kernel-check preflight 2 %d %d\n", len(raw), len(text))
	_, _ = bw.Write(raw)
	_, _ = bw.WriteString(text)
	if err := bw.Flush(); err != nil {
		return err
	}
	return zw.Close()
}

// symbolLines are the lines of [symbols]: a kernel's symbols, and what is known
// of some by where they are, with a colon, which no symbol has.
func symbolLines(list []image.Symbol) string {
	lines := make([]string, 0, len(list)+1000)
	flagged := map[string]bool{} // sets with flags, such as those of kfuncs since 6.0
	for _, s := range list {
		if name, ok := strings.CutPrefix(s.Name, "__BTF_ID__set8__"); ok {
			flagged[name] = true
		}
	}
	for _, s := range list {
		lines = append(lines, s.Name+" "+string(rune(s.Type)))
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
	slices.Sort(lines)
	return strings.Join(append(lines, ""), "\n")
}

// What lines of symbols with a colon say.
const (
	noProbes = "noprobes:" // and a function: it is in a section that nothing can be attached to
	inSet    = "set:"      // and a set, a colon and a function that is in it; without one for the set itself
	kfuncs   = "kfunc:"    // and a function that is in a set of kfuncs
)

func (k *Kernel) readIndex(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxIndex))
	if err != nil {
		return err
	}
	defer zr.Close()
	br := bufio.NewReaderSize(zr, 64<<10)
	head, err := br.ReadString('\n')
	if err != nil {
		return err
	}
	var rawLen, textLen int
	if _, err := fmt.Sscanf(head, "bpf-kernel-check preflight 2 %d %d\n", &rawLen, &textLen); err != nil {
		return err
	}
	if rawLen < 0 || textLen < 0 || rawLen > maxBTF || textLen > maxIndex-maxBTF {
		return errors.New("its lengths cannot be")
	}
	raw, text := make([]byte, rawLen), make([]byte, textLen)
	if _, err := io.ReadFull(br, raw); err != nil {
		return err
	}
	if _, err := io.ReadFull(br, text); err != nil {
		return err
	}
	// The checksum is behind the last byte.
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("it goes on: %w", err)
	}
	k.symbols = symbols(text)
	return k.setBTF(raw)
}

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

// readConfig reads a kernel's whole .config, nil when there is none.
func readConfig(path string) map[string]string {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBuild))
	if err != nil {
		return nil
	}
	config := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "CONFIG_") {
			config[strings.TrimPrefix(name, "CONFIG_")] = strings.Trim(v, `"`)
		}
	}
	if len(config) == 0 {
		return nil
	}
	return config
}

// off says whether the kernel is known to be built without an option.
func (k *Kernel) off(option string) bool {
	return k.config != nil && (k.config[option] == "" || k.config[option] == "n")
}

// symbols are lines of a name, a space and a type, sorted by name.
type symbols []byte

// from is where the first line is that is not less than key.
func (s symbols) from(key string) int {
	lo, hi := 0, len(s) // both are starts of lines
	for lo < hi {
		mid := lo + (hi-lo)/2
		start := mid
		for start > lo && s[start-1] != '\n' {
			start--
		}
		end := start + bytes.IndexByte(s[start:], '\n') + 1
		if end == start {
			return len(s)
		}
		if string(s[start:end-1]) < key {
			lo = end
		} else {
			hi = start
		}
	}
	return lo
}

// each calls fn for the symbols that start with prefix, until it returns false.
func (s symbols) each(prefix string, fn func(name string, typ byte) bool) {
	for at := s.from(prefix); at < len(s); {
		n := bytes.IndexByte(s[at:], '\n')
		if n < 2 || !bytes.HasPrefix(s[at:at+n], []byte(prefix)) {
			return
		}
		line := string(s[at : at+n])
		if !fn(line[:len(line)-2], line[len(line)-1]) {
			return
		}
		at += n + 1
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

func isText(typ byte) bool { return strings.IndexByte("tTwW", typ) >= 0 }

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
