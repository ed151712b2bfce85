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

// ModuleDepends reads the names of the modules that a module needs from its
// .modinfo section: zero-terminated key=value pairs.
func ModuleDepends(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read ELF: %w", err)
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, nil
	}
	const maxInfo = 1 << 20
	if s.Size > maxInfo {
		return nil, &bounded.LimitError{What: "size of .modinfo", Limit: maxInfo}
	}
	info, err := s.Data()
	if err != nil {
		return nil, fmt.Errorf("read .modinfo: %w", err)
	}
	for pair := range bytes.SplitSeq(info, []byte{0}) {
		if v, ok := bytes.CutPrefix(pair, []byte("depends=")); ok && len(v) > 0 {
			return strings.Split(string(v), ","), nil
		}
	}
	return nil, nil
}

// SplitModule splits "usr/lib/modules/6.1.0/kernel/x.ko" into "6.1.0" and
// "kernel/x.ko".
func SplitModule(name string) (release, file string, ok bool) {
	name = strings.TrimPrefix(name, "usr/")
	name, ok = strings.CutPrefix(name, "lib/modules/")
	if !ok {
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
