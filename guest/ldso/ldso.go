// Package ldso finds the interpreter and the shared libraries of a dynamic
// program as the dynamic linker does, glibc's or musl's, without running it. It
// says where the guest's dynamic linker finds them: the guest has no cache of
// libraries. Programs and libraries are hostile input.
package ldso

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// File is what a program needs.
type File struct {
	Path string // in the guest
	Data []byte
}

// Search is where libraries are looked for.
type Search struct {
	Arch goarch.Arch
	// Path has directories that come first, as in LD_LIBRARY_PATH.
	Path []string
	// Hidden says that the guest cannot have a file at a path.
	Hidden func(path string) bool

	root  string // of this machine's files, for tests
	cache map[string][]string
	read  map[string]*object
	size  int64 // of what is read
}

// MissingError names libraries that are not there. Its text is one line.
type MissingError struct{ Names []string }

func (e *MissingError) Error() string {
	const most = 10
	list := strings.Join(e.Names[:min(len(e.Names), most)], ", ")
	if more := len(e.Names) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return "needs " + list
}

// Limits of what a program may need.
const (
	maxObjects = 1000
	maxSize    = 2 << 30 // of all libraries, in bytes
)

// Interpreter returns the path of a program's dynamic linker, "" for a file that
// has none: a static program, a library, another machine's, or no ELF file.
func (s *Search) Interpreter(program []byte) string {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || f.Machine != s.Arch.ELF || f.Data != s.Arch.Data {
		return ""
	}
	o, err := parse(program)
	if err != nil {
		return ""
	}
	return o.interp
}

// load is the search for what one program needs.
type load struct {
	*Search
	musl  bool
	usual []string // the directories that the interpreter searches by itself; the first is for what the guest's would not find
	lib   string   // what $LIB stands for
	files []File
}

// placed is an object with its places.
type placed struct {
	*object
	name          string // by which it is needed
	origin, guest string // $ORIGIN, here and in the guest
	by            *placed
	optional      bool
}

// Program returns what the program at host, an absolute path without links, needs
// if it is at guest in the guest. The error is a *MissingError if something is not
// there.
func (s *Search) Program(host, guest string, program []byte) ([]File, error) {
	o, err := parse(program)
	if err != nil || o.interp == "" {
		return nil, err
	}
	l := &load{Search: s}
	interp, err := l.interpreter(o.interp)
	if err != nil {
		return nil, err
	}
	l.musl = strings.HasPrefix(path.Base(o.interp), "ld-musl-")
	l.usual, l.lib = l.directories(o.interp, interp.data)
	l.files = []File{{o.interp, interp.data}}

	main := &placed{object: o, name: path.Base(host), origin: path.Dir(host), guest: path.Dir(guest)}
	loaded := map[string]bool{path.Base(o.interp): true}
	queue, missing := []*placed{main}, []string(nil)
	need := func(name string, by *placed, optional bool) error {
		if loaded[name] || l.musl && muslItself.MatchString(name) {
			return nil
		}
		loaded[name] = true
		found, err := l.find(name, by)
		switch {
		case err != nil:
			return err
		case len(queue) > maxObjects:
			return fmt.Errorf("needs more than %d libraries", maxObjects)
		case found != nil:
			found.optional = optional
			queue = append(queue, found)
			loaded[found.soname] = loaded[found.soname] || !l.musl && found.soname != ""
		case !optional && by == main:
			missing = append(missing, name)
		case !optional:
			missing = append(missing, fmt.Sprintf("%s (needed by %s)", name, by.name))
		}
		return nil
	}
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		for _, name := range at.needed {
			if err := need(name, at, at.optional); err != nil {
				return nil, err
			}
		}
		if at.name != "libc.so.6" {
			continue
		}
		// What glibc opens by name: for pthread_cancel and C++'s exceptions, and,
		// until it brought them itself, for users and hosts.
		names := []string{"libgcc_s.so.1"}
		if !bytes.Contains(at.data, []byte("GLIBC_2.34\x00")) {
			names = append(names, "libnss_files.so.2", "libnss_dns.so.2")
		}
		for _, name := range names {
			if err := need(name, at, true); err != nil {
				return nil, err
			}
		}
	}
	if missing != nil {
		return nil, &MissingError{missing}
	}
	return l.files, nil
}

// musl's own names, which it takes for itself.
var muslItself = regexp.MustCompile(`^lib(c|pthread|rt|m|dl|util|xnet)\.`)

// interpreter finds a program's interpreter: another machine's may be in a
// directory of the user's.
func (l *load) interpreter(name string) (*object, error) {
	if !path.IsAbs(name) || path.Clean(name) != name || l.hidden(name) {
		return nil, fmt.Errorf("has the interpreter %q, and the guest has no such place: link it statically", name)
	}
	for _, at := range append([]string{name}, inEach(l.Path, path.Base(name))...) {
		if o, err := l.open(at); o != nil || err != nil {
			return o, err
		}
	}
	return nil, &MissingError{[]string{"the interpreter " + name}}
}

func inEach(dirs []string, name string) []string {
	var paths []string
	for _, d := range dirs {
		paths = append(paths, d+"/"+name) // not cleaned: a link may come before ..
	}
	return paths
}

func (s *Search) hidden(p string) bool { return s.Hidden != nil && s.Hidden(p) }

// usualDirs are strings in glibc's interpreter. It has been built with them.
var usualDirs = regexp.MustCompile(`(/[\w.+/-]*\blib[\w.+/-]*)/\x00`)

// directories are what an interpreter was built with.
func (l *load) directories(name string, interp []byte) (usual []string, lib string) {
	if l.musl {
		return []string{"/lib", "/usr/local/lib", "/usr/lib"}, "lib"
	}
	for _, m := range usualDirs.FindAllSubmatch(interp, -1) {
		if d := string(m[1]); path.Clean(d) == d && !slices.Contains(usual, d) {
			usual = append(usual, d)
		}
	}
	if usual == nil {
		usual = []string{path.Dir(name)}
	}
	for _, lib := range []string{"lib/" + l.Arch.Triplet, "lib64"} {
		if bytes.Contains(interp, []byte("\x00"+lib+"\x00")) {
			return usual, lib
		}
	}
	return usual, "lib"
}

// find finds a library that an object needs and adds it to the files. It returns
// nil if there is none.
func (l *load) find(name string, by *placed) (*placed, error) {
	for _, c := range l.candidates(name, by) {
		o, err := l.open(c.host)
		if err != nil {
			return nil, err
		}
		if o == nil {
			continue
		}
		if !slices.ContainsFunc(l.files, func(f File) bool { return f.Path == c.guest }) {
			l.files = append(l.files, File{c.guest, o.data})
		}
		return &placed{object: o, name: name, origin: path.Dir(c.host), guest: path.Dir(c.guest), by: by}, nil
	}
	return nil, nil
}

// candidate is a path at which a library may be, here and in the guest.
type candidate struct{ host, guest string }

// candidates are the paths at which an object's library is looked for, in order.
func (l *load) candidates(name string, o *placed) []candidate {
	var list []candidate
	add := func(host, guest string) {
		if guest = path.Clean(guest); l.hidden(guest) {
			guest = path.Join(l.usual[0], name)
		}
		list = append(list, candidate{host, guest})
	}
	expanded := func(o *placed, paths ...string) {
		for _, p := range paths {
			// Not the current directory, which is another one in the guest.
			if host, guest := l.expand(p, o.origin), l.expand(p, o.guest); path.IsAbs(host) {
				add(host, guest)
			}
		}
	}
	if strings.Contains(name, "/") {
		expanded(o, name)
		return list
	}
	if !l.musl && o.runpath == nil {
		for a := o; a != nil; a = a.by {
			if a.runpath == nil {
				expanded(a, inEach(a.rpath, name)...)
			}
		}
	}
	for _, p := range inEach(l.Path, name) {
		add(p, path.Join(l.usual[0], name))
	}
	if l.musl {
		for a := o; a != nil; a = a.by {
			expanded(a, inEach(slices.Concat(a.runpath, a.rpath), name)...)
		}
	} else {
		expanded(o, inEach(o.runpath, name)...)
	}
	for _, p := range append(l.listed(name), inEach(l.usual, name)...) {
		dir := path.Dir(p)
		if !slices.Contains(l.usual, dir) {
			dir = l.usual[0] // the guest has no list
		}
		add(p, path.Join(dir, name))
	}
	return list
}

// listed are the paths of a library where the system lists them: in glibc's
// cache, or in the directories of a file that musl reads.
func (l *load) listed(name string) []string {
	if !l.musl {
		if l.cache == nil {
			b, _ := readSmall(l.root + "/etc/ld.so.cache")
			l.cache = parseCache(b)
		}
		return l.cache[name]
	}
	b, _ := readSmall(l.root + "/etc/ld-musl-" + l.Arch.Machine + ".path")
	return inEach(strings.FieldsFunc(string(b), func(r rune) bool { return r == ':' || r == '\n' }), name)
}

// expand replaces what stands for something in a path.
func (l *load) expand(p, origin string) string {
	platform := l.Arch.Machine
	return strings.NewReplacer("$ORIGIN", origin, "${ORIGIN}", origin, "$LIB", l.lib, "${LIB}", l.lib,
		"$PLATFORM", platform, "${PLATFORM}", platform).Replace(p)
}

// open reads a library of the right machine. It returns nil for what the dynamic
// linker passes over.
func (s *Search) open(at string) (*object, error) {
	if o, ok := s.read[at]; ok {
		return o, nil
	}
	if s.read == nil {
		s.read = map[string]*object{}
	}
	s.read[at] = nil
	info, err := os.Stat(s.root + at)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	f, err := elf.Open(s.root + at)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("needs %s, which cannot be read: %w", at, fs.ErrPermission)
	}
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	switch {
	case f.Machine != s.Arch.ELF || f.Data != s.Arch.Data || f.Class != elf.ELFCLASS64 || f.Type != elf.ET_DYN:
		return nil, nil
	case s.size+info.Size() > maxSize:
		return nil, fmt.Errorf("needs %s, and with it more than %d MiB of libraries: strip them", at, maxSize>>20)
	}
	s.size += info.Size()
	b, err := os.ReadFile(s.root + at)
	if err != nil {
		return nil, fmt.Errorf("needs %s, which cannot be read: %w", at, errors.Unwrap(err))
	}
	o, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("needs %s, which is damaged: %w", at, err)
	}
	s.read[at] = o
	return o, nil
}
