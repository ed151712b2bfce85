package image

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Module is a kernel module, decompressed.
type Module struct {
	Name string // as lsmod shows it: "overlay", "nf_tables"
	Data []byte
}

// maxModule bounds a decompressed module, in bytes. The largest drivers, with
// debug information, have some 100 MiB.
const maxModule = 256 << 20

// ModuleName makes a module's name from a file's: without directory and
// suffixes, with "_" for "-", as the kernel does.
func ModuleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// ReadModule decompresses a module by its magic number.
func ReadModule(ctx context.Context, file string, r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	if _, err := bounded.Copy(ctx, &b, r, maxModule, fmt.Sprintf("size of module %q", file)); err != nil {
		return nil, err
	}
	c := CompressionOf(b.Bytes())
	if c == "" {
		return b.Bytes(), nil
	}
	d, err := Decompress(c, &b)
	if err != nil {
		return nil, fmt.Errorf("decompress module %q: %w", file, err)
	}
	defer d.Close()
	var out bytes.Buffer
	if _, err := bounded.Copy(ctx, &out, d, maxModule, fmt.Sprintf("size of module %q", file)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Modinfo is what a module's .modinfo section says.
type Modinfo struct {
	Name      string   // as the kernel calls it, whatever its file is called
	Depends   []string // names of modules that it needs
	Pre, Post []string // its softdeps: those that it can use
	Aliases   []string
	Vermagic  string // the kernel's release that it was built for, and flags
}

// ReadModinfo reads a module's .modinfo section: zero-terminated key=value pairs.
// Names in it are as ModuleName makes them. What has blanks or commas in it is
// left out.
func ReadModinfo(data []byte) (m Modinfo, err error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return m, fmt.Errorf("read ELF: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return m, nil
	}
	const maxInfo = 1 << 20
	if s.Size > maxInfo {
		return m, &bounded.LimitError{What: "size of .modinfo", Limit: maxInfo}
	}
	info, err := s.Data()
	if err != nil {
		return m, fmt.Errorf("read .modinfo: %w", err)
	}
	names := func(to []string, words []string) []string {
		for _, n := range words {
			if n = ModuleName(n); n != "." && len(n) <= maxModuleName && !strings.ContainsFunc(n, notPlain) {
				to = append(to, n)
			}
		}
		return to
	}
	for pair := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(pair), "=")
		switch key {
		case "depends":
			m.Depends = names(m.Depends, strings.FieldsFunc(value, func(r rune) bool { return r == ',' }))
		case "softdep":
			to := &m.Pre
			for _, word := range strings.Fields(value) {
				switch word {
				case "pre:":
					to = &m.Pre
				case "post:":
					to = &m.Post
				default:
					*to = names(*to, []string{word})
				}
			}
		case "name":
			if n := names(nil, []string{value}); len(n) > 0 {
				m.Name = n[0]
			}
		case "alias":
			if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
				m.Aliases = append(m.Aliases, value)
			}
		case "vermagic":
			m.Vermagic = value
		}
	}
	return m, nil
}

const maxModuleName = 64 // MODULE_NAME_LEN

func notPlain(r rune) bool { return r <= ' ' || r > '~' || r == ',' }

// SplitModule splits "usr/lib/modules/6.1.0/kernel/x.ko" into "6.1.0" and
// "kernel/x.ko", below any directory but those of debug information.
func SplitModule(name string) (release, file string, ok bool) {
	before, name, ok := strings.Cut("/"+name, "/lib/modules/")
	if !ok || strings.HasSuffix(before, "/lib/debug") || strings.HasSuffix(before, "/lib/debug/usr") {
		return "", "", false
	}
	return strings.Cut(name, "/")
}

// IsModule says whether a file is named like a module.
func IsModule(file string) bool {
	for _, suffix := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if strings.HasSuffix(file, suffix) {
			return true
		}
	}
	return false
}
