package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is a kernel module, decompressed.
type Module struct {
	Name string // as lsmod shows it: "overlay", "nf_tables"
	Data []byte
}

// maxModule bounds a decompressed module, in bytes. The largest drivers, with
// debug information, have some 100 MiB.
const maxModule = 256 << 20

// Modules returns the modules called names and all they depend on, each after
// those it needs. A module that the kernel did not come with, because it is
// built in or not there at all, is left out: only the running kernel can tell
// the two apart.
//
// Dependencies are read from the modules themselves, since packages hold no
// modules.dep. Each level of them takes one more pass over the archive.
func (im *Image) Modules(ctx context.Context, names []string) ([]Module, error) {
	type found struct {
		Module
		depends []string
	}
	have := map[string]found{}
	tried := map[string]bool{}
	var wanted []string
	want := func(ns []string) {
		for _, n := range ns {
			if n = moduleName(n); n != "" && !tried[n] {
				tried[n] = true
				wanted = append(wanted, n)
			}
		}
	}
	for want(names); len(wanted) > 0; {
		pass := wanted
		wanted = nil
		left := len(pass)
		err := im.ReadModules(ctx,
			func(file string) bool { return isModule(file) && slices.Contains(pass, moduleName(file)) },
			func(file string, _ int64, r io.Reader) error {
				name := moduleName(file)
				if _, twice := have[name]; twice {
					return nil
				}
				data, err := readModule(ctx, file, r)
				if err != nil {
					return err
				}
				depends, err := moduleDepends(data)
				if err != nil {
					return fmt.Errorf("module %q: %w", file, err)
				}
				have[name] = found{Module{name, data}, depends}
				want(depends)
				if left--; left == 0 {
					return fs.SkipAll
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
	}

	var order []Module
	state := map[string]int{} // 1 being added, 2 added
	var add func(name string) error
	add = func(name string) error {
		m, ok := have[moduleName(name)]
		if !ok || state[m.Name] == 2 {
			return nil
		}
		if state[m.Name] == 1 {
			return fmt.Errorf("modules of %s: %q depends on itself", im.ID(), m.Name)
		}
		state[m.Name] = 1
		for _, d := range m.depends {
			if err := add(d); err != nil {
				return err
			}
		}
		state[m.Name] = 2
		order = append(order, m.Module)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleName makes a module's name from a file's: without directory and
// suffixes, with "_" for "-", as the kernel does.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModule decompresses a module by its magic number.
func readModule(ctx context.Context, file string, r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	if _, err := copyCapped(ctx, &b, r, maxModule, fmt.Sprintf("size of module %q", file)); err != nil {
		return nil, err
	}
	c := compressionOf(b.Bytes())
	if c == "" {
		return b.Bytes(), nil
	}
	d, err := decompress(c, &b)
	if err != nil {
		return nil, fmt.Errorf("decompress module %q: %w", file, err)
	}
	defer d.Close()
	var out bytes.Buffer
	if _, err := copyCapped(ctx, &out, d, maxModule, fmt.Sprintf("size of module %q", file)); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// moduleDepends reads the names of the modules that a module needs from its
// .modinfo section: zero-terminated key=value pairs.
func moduleDepends(data []byte) ([]string, error) {
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
		return nil, &LimitError{What: "size of .modinfo", Limit: maxInfo}
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
