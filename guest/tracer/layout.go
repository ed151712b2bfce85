package main

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// layout is struct layout of bpf/probe.h: where arguments are in functions
// whose signature differs between kernels.
type layout struct {
	UnlinkDentry, UnlinkArgs                   uint32
	RenameOld, RenameArgs                      uint32
	TruncateDentry, TruncateFile, TruncateArgs uint32
	SetxattrDentry, SetxattrArgs               uint32
	RemovexattrDentry, RemovexattrArgs         uint32
	SetsidArgs                                 uint32
	AcceptArgs                                 uint32
}

// maxArgs is what bpf/probe.h can address: all that any kernel so far has.
const maxArgs = 6

// signatures gives the parameters of a kernel function.
type signatures interface {
	// params has the name of the struct that each parameter points to, ""
	// for other parameters. ok is false if the kernel does not tell, or tells
	// several functions of that name.
	params(fn string) (structs []string, ok bool)
}

// newLayout reads the layout. Probes whose functions are not as any of the
// known versions are named in the second result, with the reason.
func newLayout(k signatures) (layout, map[string]error) {
	var l layout
	bad := map[string]error{}
	// read finds the first parameter that points to each of the structs.
	read := func(fn string, args *uint32, find ...argument) {
		structs, ok := k.params(fn)
		if !ok {
			bad[fn] = fmt.Errorf("%s is not in the kernel's BTF", fn)
			return
		}
		if len(structs) > maxArgs {
			bad[fn] = fmt.Errorf("%s has %d parameters, at most %d were expected", fn, len(structs), maxArgs)
			return
		}
		*args = uint32(len(structs))
		for _, f := range find {
			i := slices.Index(structs, f.name)
			if i < 0 {
				bad[fn] = fmt.Errorf("%s has no parameter struct %s *", fn, f.name)
				return
			}
			*f.at = uint32(i)
		}
	}

	read("vfs_unlink", &l.UnlinkArgs, argument{"dentry", &l.UnlinkDentry})
	if s, ok := k.params("vfs_rename"); ok && len(s) == 1 && s[0] == "renamedata" {
		l.RenameArgs = 1
	} else {
		read("vfs_rename", &l.RenameArgs, argument{"dentry", &l.RenameOld})
		// One parameter means struct renamedata to the program.
		if l.RenameArgs == 1 {
			bad["vfs_rename"] = fmt.Errorf("vfs_rename has a signature not known here")
		}
	}
	read("do_truncate", &l.TruncateArgs,
		argument{"dentry", &l.TruncateDentry}, argument{"file", &l.TruncateFile})
	read("vfs_setxattr", &l.SetxattrArgs, argument{"dentry", &l.SetxattrDentry})
	read("vfs_removexattr", &l.RemovexattrArgs, argument{"dentry", &l.RemovexattrDentry})
	read("inet_csk_accept", &l.AcceptArgs)
	return l, bad
}

// argument is a parameter to find: the first that points to struct name.
type argument struct {
	name string
	at   *uint32
}

// kernelTypes are the running kernel's BTF.
type kernelTypes struct{ spec *btf.Spec }

func (k kernelTypes) params(fn string) ([]string, bool) {
	var f *btf.Func
	// An ambiguous name is an error too: nobody can tell which one is meant.
	if err := k.spec.TypeByName(fn, &f); err != nil {
		return nil, false
	}
	proto, ok := f.Type.(*btf.FuncProto)
	if !ok {
		return nil, false
	}
	out := make([]string, len(proto.Params))
	for i, p := range proto.Params {
		ptr, ok := btf.UnderlyingType(p.Type).(*btf.Pointer)
		if !ok {
			continue
		}
		if s, ok := btf.UnderlyingType(ptr.Target).(*btf.Struct); ok {
			out[i] = s.Name
		}
	}
	return out, true
}
