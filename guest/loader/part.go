package main

import (
	"github.com/cilium/ebpf"
)

// only returns the part of an object that one program needs: itself and the
// maps it refers to.
func only(spec *ebpf.CollectionSpec, program string) *ebpf.CollectionSpec {
	ps := spec.Programs[program]
	var names []string
	for i := range ps.Instructions {
		if ins := &ps.Instructions[i]; ins.IsLoadFromMap() && ins.Reference() != "" {
			names = append(names, ins.Reference())
		}
	}
	part := withMaps(spec, names...)
	part.Programs = map[string]*ebpf.ProgramSpec{program: part.Programs[program]}
	return part
}

// withMaps returns a copy of an object with all programs, and of its maps the
// named ones and those that they hold.
func withMaps(spec *ebpf.CollectionSpec, names ...string) *ebpf.CollectionSpec {
	part := spec.Copy()
	kept := map[string]*ebpf.MapSpec{}
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		m := part.Maps[name]
		if m == nil || kept[name] != nil {
			continue
		}
		kept[name] = m
		switch m.Type {
		case ebpf.ProgramArray:
			// Each program is loaded on its own, whatever tail call leads to it.
			m.Contents = nil
		case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
			for _, kv := range m.Contents {
				if inner, ok := kv.Value.(string); ok {
					names = append(names, inner)
				}
			}
		}
	}
	part.Maps = kept
	for name, v := range part.Variables {
		if kept[v.SectionName] == nil {
			delete(part.Variables, name)
		}
	}
	return part
}
