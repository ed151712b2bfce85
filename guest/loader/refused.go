package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// refusedByLibbpf is the warning of an object that names something of the
// kernel's that has returns false for: libbpf looks for all of it before it loads
// any program, ebpf-go for what the one program uses. "" for none.
func refusedByLibbpf(path string, spec *ebpf.CollectionSpec, has func(name string) bool) string {
	var missing []string
	miss := func(name string) {
		if name, _, _ = strings.Cut(name, "___"); !has(name) {
			missing = append(missing, name)
		}
	}
	if f, err := elf.Open(path); err == nil {
		defer f.Close()
		symbols, _ := f.Symbols() // none, and none is missing
		for _, s := range symbols {
			kconfig := strings.HasPrefix(s.Name, "CONFIG_") || strings.HasPrefix(s.Name, "LINUX_")
			if s.Section == elf.SHN_UNDEF && elf.ST_BIND(s.Info) == elf.STB_GLOBAL && !kconfig {
				miss(s.Name)
			}
		}
	}
	for _, m := range spec.Maps {
		if m.Type == ebpf.StructOpsMap && m.Value != nil {
			miss(m.Value.TypeName())
		}
	}
	if len(missing) == 0 {
		return ""
	}
	slices.Sort(missing)
	return fmt.Sprintf("warning: libbpf would refuse the object: this kernel has no %.200s", strings.Join(slices.Compact(missing), ", "))
}

// has says whether the kernel has a type or symbol; true where it does not tell.
func (l *loader) has(name string) bool {
	if types, err := l.types.Kernel(); err == nil {
		if found, err := types.AnyTypesByName(name); err == nil && len(found) > 0 {
			return true
		}
	}
	if l.kernel.symbols == nil {
		return true
	}
	// A module's functions are there, too.
	symbols := l.kernel.symbols()
	return len(symbols) == 0 || bytes.Contains(symbols, []byte(" "+name+"\n")) || bytes.Contains(symbols, []byte(" "+name+"\t"))
}
