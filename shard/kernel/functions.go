package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxBTF bounds a kernel's BTF, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 128 << 20

const functionsFile = "functions-1.txt"

// ErrNoBTF is returned by [Functions] for a kernel without BTF.
var ErrNoBTF = errors.New("kernel has no BTF")

// Functions returns, sorted, the names that BPF programs can attach to as the
// BTF of an ELF vmlinux, or of an arm64 Image, has them: functions, and "btf_trace_<name>" for
// tracepoints. vmlinux is hostile input; its parsing takes about 0.2 s.
func Functions(vmlinux string) ([]string, error) {
	raw, err := RawBTF(vmlinux)
	if err != nil {
		return nil, err
	}
	// Not from the file: a vmlinux out of an image has no symbols.
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
	}
	var names []string
	for typ, err := range spec.All() {
		if err != nil {
			return nil, fmt.Errorf("read BTF of %q: %w", vmlinux, err)
		}
		switch t := typ.(type) {
		case *btf.Func:
			names = append(names, t.Name)
		case *btf.Typedef:
			if strings.HasPrefix(t.Name, "btf_trace_") {
				names = append(names, t.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// HasTargets says for each of targets, which are section names such as
// "fentry/vfs_unlink", whether this kernel has what it attaches to. vmlinux is
// the unpacked kernel. The names are kept beside the kernel in the cache.
func (im *Image) HasTargets(ctx context.Context, c *Cache, vmlinux string, targets []string) (map[string]bool, error) {
	path, err := im.Derived(ctx, c, functionsFile, func(w io.Writer) error {
		names, err := Functions(vmlinux)
		if err != nil {
			return err
		}
		bw := bufio.NewWriter(w)
		for _, n := range names {
			_, _ = bw.WriteString(n + "\n")
		}
		return bw.Flush()
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the functions of %s: %w", im.ID(), err)
	}
	names := strings.Split(string(b), "\n")
	has := make(map[string]bool, len(targets))
	for _, t := range targets {
		kind, name, _ := strings.Cut(t, "/")
		switch strings.TrimSuffix(kind, ".s") {
		case "lsm":
			name = "bpf_lsm_" + name
		case "tp_btf", "raw_tp", "raw_tracepoint":
			name = "btf_trace_" + name
		}
		_, has[t] = slices.BinarySearch(names, name)
	}
	return has, nil
}
