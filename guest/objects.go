package guest

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// ObjectsName is the name of the job of a payload of BPF objects.
const ObjectsName = "objects"

// maxObject bounds a BPF object, in bytes.
const maxObject = 64 << 20

// FindObjects expands patterns (filepath.Match's) to files, in the patterns'
// order, each file once. A pattern that matches nothing is an error.
func FindObjects(patterns []string) ([]string, error) {
	var paths []string
	seen := map[string]bool{}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, &PayloadError{Path: pattern, Reason: "is not a pattern: quote [, * and ? that stand for themselves with a backslash"}
		}
		if len(found) == 0 {
			return nil, &PayloadError{Path: pattern, Reason: "matches no file: give the path of BPF object files, such as 'build/*.bpf.o'"}
		}
		for _, p := range found {
			if p = filepath.Clean(p); !seen[p] {
				seen[p] = true
				paths = append(paths, p)
			}
		}
	}
	return paths, nil
}

// ObjectFile is a BPF object as a payload of objects has it.
type ObjectFile struct {
	Name string // the first part of the names of its tests
	Path string
	Data []byte
}

// ReadObjects reads the BPF objects that [FindObjects] found.
func ReadObjects(paths []string) ([]ObjectFile, error) {
	names := objectNames(paths)
	files := make([]ObjectFile, len(paths))
	for i, path := range paths {
		b, err := readObject(path)
		if err != nil {
			return nil, err
		}
		files[i] = ObjectFile{names[i], path, b}
	}
	return files, nil
}

// readObject reads a BPF object file.
func readObject(path string) ([]byte, error) {
	const how = "build it with clang -target bpf -g -O2 -c"
	b, err := elfKind{
		what: "a BPF object file", max: maxObject, tooLarge: "an object may have: strip it with llvm-strip -g",
		notELF: "is no ELF object: " + how,
	}.read(path, func(f *elf.File) string {
		switch {
		case f.Machine != elf.EM_BPF:
			return fmt.Sprintf("is built for %s, not for BPF: %s", cmp.Or(machines[f.Machine], f.Machine.String()), how)
		case f.Data != elf.ELFDATA2LSB:
			return "is big-endian, and the kernels are little-endian: build it with clang -target bpfel"
		case f.Class != elf.ELFCLASS64 || f.Type != elf.ET_REL:
			return fmt.Sprintf("is an ELF file of type %v, %v, not a 64-bit object: %s", f.Class, f.Type, how)
		}
		return ""
	})
	if err != nil {
		return nil, err
	}
	// What the loader cannot read fails on every kernel alike.
	if _, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(b)); err != nil {
		hint := ""
		if strings.Contains(err.Error(), "missing BTF") {
			hint = ": build it with -g, and do not strip .BTF"
		}
		return nil, &PayloadError{Path: path, Reason: fmt.Sprintf("cannot be read by cilium/ebpf, which loads it: %s%s", strings.ReplaceAll(err.Error(), "\n", " "), hint)}
	}
	return b, nil
}

// objectNames gives each object the name that it has in tests and results: the
// file's without .o and .bpf.o, in safe characters, and with a number when
// another has it already.
func objectNames(paths []string) []string {
	const maxName = 80 // leaves room for the program's
	names := make([]string, len(paths))
	taken := map[string]bool{}
	for i, p := range paths {
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(p), ".o"), ".bpf")
		base = wire.SafeName(base)
		base = base[:min(len(base), maxName)]
		name := base
		// Names are also directories, and some file systems ignore case.
		for n := 2; taken[strings.ToLower(name)]; n++ {
			name = base + "-" + strconv.Itoa(n)
		}
		taken[strings.ToLower(name)] = true
		names[i] = name
	}
	return names
}

// ObjectsPayload loads BPF objects: each program is a test object/program. With
// attach it is attached as well where its type allows it. unsupported is the
// verdict of what a kernel cannot have, wire.TestFail or wire.TestSkip.
func ObjectsPayload(ctx context.Context, arch string, paths []string, attach bool, unsupported string, timeout time.Duration) (Payload, error) {
	p := Payload{Job: wire.Job{
		Args: []string{"/loader", "--unsupported=" + unsupported, "--attach=" + strconv.FormatBool(attach)},
		Name: ObjectsName, Reports: true, ReportsBPF: true, Timeout: timeout,
	}}
	p.SkipsPass = unsupported == wire.TestSkip
	objects, err := ReadObjects(paths)
	if err != nil {
		return Payload{}, err
	}
	for _, o := range objects {
		inGuest := "/objects/" + o.Name + ".o"
		p.Job.Args = append(p.Job.Args, inGuest)
		p.Files = append(p.Files, File{Path: inGuest, Mode: 0o644, Data: o.Data})
		p.Targets = append(p.Targets, Targets(o.Data)...)
	}
	b, err := Program(ctx, arch, Loader)
	if err != nil {
		return Payload{}, err
	}
	p.Files = append(p.Files, File{Path: "/loader", Mode: 0o755, Data: b})
	return p, nil
}
