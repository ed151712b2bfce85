package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/ldso"
)

// Libraries is where the shared libraries of a payload's programs come from.
type Libraries struct {
	Path     []string     // directories to look in first, as in LD_LIBRARY_PATH
	Programs []string     // the payload's own; what another lacks is only warned of
	Warn     func(string) // takes one line

	// Has says whether the guest has a file by itself, in its root file system.
	// A program whose interpreter is there has its libraries there, too.
	Has func(path string) bool
}

// AddLibraries adds the interpreters and libraries of the payload's dynamic
// programs, which are for an architecture. A file of the user's in their place
// stays.
func (p *Payload) AddLibraries(arch string, l Libraries) error {
	search := ldso.Search{Arch: goarch.Lookup(arch), Path: l.Path, Hidden: func(path string) bool {
		return Reserved(path) != "" && (p.here == "" || !within(path, p.here))
	}}
	own := map[string]bool{}
	for _, f := range p.Files {
		own[f.Path] = true
	}
	brought := map[string][]byte{}
	for _, program := range slices.Clone(p.Files) {
		interp := ""
		if program.Source != "" && program.Mode&0o111 != 0 {
			interp = search.Interpreter(program.Data)
		}
		if interp == "" || l.Has != nil && l.Has(interp) {
			continue
		}
		files, err := programNeeds(&search, program)
		for _, f := range files {
			data, ok := brought[f.Path]
			switch {
			case err != nil || own[f.Path] || ok && bytes.Equal(data, f.Data):
			case ok:
				err = fmt.Errorf("needs another %s than a program before it: link one of them statically", f.Path)
			case p.size()+int64(len(f.Data)) > maxFileBytes:
				return fmt.Errorf("the libraries of %q: %w", program.Source, errTooMuch)
			default:
				brought[f.Path] = f.Data
				err = p.add(File{Path: f.Path, Mode: 0o755, Data: f.Data})
			}
		}
		if err == nil {
			continue
		}
		bad := PayloadError{program.Source, err.Error()}
		if errors.As(err, new(*ldso.MissingError)) {
			bad.Reason += ", which this machine does not have: install it, give --library-path DIR, or link the program statically"
			if arch != runtime.GOARCH {
				bad.Reason = fmt.Sprintf("%v, and this machine has none for %s: give --library-path DIR, or link the program statically", err, arch)
			}
		}
		if slices.Contains(l.Programs, program.Source) {
			return &bad
		}
		if l.Warn != nil {
			l.Warn("--file: " + bad.Error())
		}
	}
	return nil
}

// programNeeds returns what a program needs beside it.
func programNeeds(search *ldso.Search, program File) ([]ldso.File, error) {
	at, err := filepath.Abs(program.Source)
	if err != nil {
		return nil, err
	}
	// $ORIGIN is the directory of the file itself. A Go test was built for its
	// package's directory, and is not there.
	if file, err := filepath.EvalSymlinks(at); err == nil {
		at = file
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return search.Program(at, program.Path, program.Data)
}
