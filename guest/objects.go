package guest

import (
	"cmp"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
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
	Name   string // the first part of the names of its tests
	Path   string
	Data   []byte
	Broken string // why the file is no BPF object, in one line; there is no Data then
}

// ReadObjects reads the BPF objects that [FindObjects] found, for kernels of an
// architecture. Of the objects that bpf2go built for each architecture it reads the
// one for arch. A file that is no BPF object, or has the other byte order, is Broken;
// if all are, that is the error.
func ReadObjects(paths []string, arch string) ([]ObjectFile, error) {
	paths = forArch(paths, arch)
	names := objectNames(paths)
	files := make([]ObjectFile, len(paths))
	var broken []*PayloadError
	for i, path := range paths {
		b, err := readObject(path, goarch.Lookup(arch))
		var bad *PayloadError
		switch {
		case errors.As(err, &bad):
			broken = append(broken, bad)
			files[i] = ObjectFile{Name: names[i], Path: path, Broken: bad.Reason}
		case err != nil:
			return nil, err
		default:
			files[i] = ObjectFile{Name: names[i], Path: path, Data: b}
		}
	}
	if len(broken) < len(paths) || len(broken) == 0 {
		return files, nil
	}
	var others []string
	for _, b := range broken[1:] {
		others = append(others, fmt.Sprintf("%q %s", b.Path, b.Reason))
	}
	if others != nil {
		broken[0].Reason += "; so is no other file: " + some(others)
	}
	return nil, broken[0]
}

// readObject reads a BPF object file. Whether a loader can read what is in it is
// for the loader to say.
func readObject(path string, kernels goarch.Arch) ([]byte, error) {
	const how = "build it with clang -target bpf -g -O2 -c"
	return elfKind{
		what: "a BPF object file", max: maxObject, tooLarge: "an object may have: strip it with llvm-strip -g",
		notELF: "is no ELF object: " + how,
	}.read(path, func(f *elf.File) string {
		switch {
		case f.Machine != elf.EM_BPF:
			return fmt.Sprintf("is built for %s, not for BPF: %s", cmp.Or(goarch.OfELF(f.Machine, f.Data).Name, f.Machine.String()), how)
		case f.Data != kernels.Data:
			return otherOrder(f.Data, kernels)
		case f.Class != elf.ELFCLASS64 || f.Type != elf.ET_REL:
			return fmt.Sprintf("is an ELF file of type %v, %v, not a 64-bit object: %s", f.Class, f.Type, how)
		}
		// It could take any amount of memory, and no loader reads it.
		if slices.ContainsFunc(f.Sections, func(s *elf.Section) bool {
			return s.Flags&elf.SHF_COMPRESSED != 0 && !strings.HasPrefix(s.Name, ".debug")
		}) {
			return "has compressed sections: " + how
		}
		return ""
	})
}

// otherOrder says that an object has another byte order than the kernels.
func otherOrder(object elf.Data, kernels goarch.Arch) string {
	orders := map[elf.Data][2]string{elf.ELFDATA2LSB: {"little-endian", "bpfel"}, elf.ELFDATA2MSB: {"big-endian", "bpfeb"}}
	is, want := orders[object], orders[kernels.Data]
	return fmt.Sprintf("is built %s (-target %s), and %s kernels are %s: build it with clang -target %s", is[0], is[1], kernels.Name, want[0], want[1])
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

// Objects is what a payload of BPF objects tells its loader; ok is false for
// another payload.
func (p Payload) Objects() (o wire.Objects, ok bool) {
	if p.Job.Name != ObjectsName {
		return o, false
	}
	i := slices.IndexFunc(p.Files, func(f File) bool { return f.Path == wire.ObjectsPath })
	return o, i >= 0 && json.Unmarshal(p.Files[i].Data, &o) == nil // which ObjectsPayload wrote
}

// ObjectsPayload loads BPF objects: each program is a test object/program. The
// payload's Notes say which loader loads which object; its Warnings, which files
// are no objects and which passes may not be one for the user's own loader.
func ObjectsPayload(ctx context.Context, arch string, files []ObjectFile, o wire.Objects, timeout time.Duration) (Payload, error) {
	p := Payload{Job: wire.Job{Args: []string{"/loader"}, Name: ObjectsName, Reports: true, ReportsBPF: true, Timeout: timeout}}
	p.SkipsPass = o.Unsupported == wire.TestSkip
	o.Objects = nil
	programs := map[string]string{"/loader": Loader}
	for _, f := range files {
		object := wire.Object{Name: f.Name, Path: "/objects/" + f.Name + ".o", Broken: f.Broken, Loader: cmp.Or(o.Loader, wire.LoaderAuto)}
		if f.Broken == "" {
			object = ChooseLoader(object, f, arch)
			p.Files = append(p.Files, File{Path: object.Path, Mode: 0o644, Data: f.Data})
			p.Targets = append(p.Targets, Targets(f.Data)...)
			if o.Attach {
				p.OnDemand = cmp.Or(p.OnDemand, attaching(f.Data, o.Settings.Targets))
			}
			if object.Loader != wire.LoaderGo {
				programs[LibbpfPath] = Libbpf
			}
		}
		if object.Broken != "" {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s %s: it fails on every kernel", f.Path, object.Broken))
		}
		const most = 2 // of an object: all are with its tests
		for _, w := range object.Warnings[:min(most, len(object.Warnings))] {
			p.Warnings = append(p.Warnings, f.Path+": "+w)
		}
		if more := len(object.Warnings) - most; more > 0 {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s: %d more warnings, which are with its tests", f.Path, more))
		}
		o.Objects = append(o.Objects, object)
	}
	p.Notes = []string{loadersNote(o.Objects)}
	list, err := json.Marshal(o)
	if err != nil {
		return Payload{}, err
	}
	p.Files = append(p.Files, File{Path: wire.ObjectsPath, Mode: 0o644, Data: list})
	for _, path := range slices.Sorted(maps.Keys(programs)) {
		b, err := Program(ctx, arch, programs[path])
		if err != nil {
			return Payload{}, err
		}
		p.Files = append(p.Files, File{Path: path, Mode: 0o755, Data: b})
	}
	return p, nil
}
