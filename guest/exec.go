package guest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// ExecPayload is a program that runs in place of one of this machine: its
// arguments stay as they are, what it reads and writes is passed on as it comes,
// and the verdict is its exit status and what its output says of failures. path is
// where it is here, b its bytes, and dir its working directory, absolute. A
// program of the guest's root file system is installed: path is the one there.
func ExecPayload(name, path string, b []byte, args []string, dir string, installed bool) Payload {
	inside := path
	if !installed && !within(inside, dir) && Reserved(inside) != "" {
		inside = "/payload/" + filepath.Base(path)
	}
	run := []string{wire.TestrunnerPath, "exec", "--stream", "--name", name, "--dir", dir}
	// One that lists its tests says no PASS.
	lists := slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(strings.TrimLeft(a, "-"), "test.list") })
	if _, _, ok := goTest(b); ok && !lists {
		run = append(run, "--go-test")
	}
	p := Payload{
		Job:      wire.Job{Args: append(append(run, "--", inside), args...), Name: name, Reports: true, Stream: true},
		Targets:  Targets(b),
		OnDemand: OnDemandDefault,
		// Who starts it chooses its tests: all of them may be skipped.
		SkipsPass: true,
	}
	if !installed {
		p.Files = []File{{Path: inside, Mode: 0o755, Data: b, Source: path}}
	}
	return p
}

// Limits of a working directory that is brought along.
const (
	maxHereBytes = 256 << 20
	maxHereFiles = 8000
)

// neverHere are the names of directories that are left out of a working
// directory: what version control and package managers keep.
var neverHere = []string{".git", ".hg", ".jj", ".svn", "node_modules", "__pycache__", ".venv"}

// AddHere brings a directory along, at the same path. Left out are: neverHere,
// directories that a cache's tag marks (CACHEDIR.TAG; cargo's target has one),
// those of skip, credentials, what cannot be read, and what is neither a file nor
// a directory. A link to a file of the directory becomes a copy; other links are
// left out too. left names them, but for what is always left out. Owners are root.
//
// An error is one line that ends with what to do.
func (p *Payload) AddHere(dir string, skip []string) (left []string, err error) {
	root, err := os.OpenRoot(dir) // no link leads out of it
	if err != nil {
		return nil, fmt.Errorf("the working directory cannot be read: %w: change to another", err)
	}
	defer root.Close()
	here := map[string]bool{} // what is in the payload already
	for _, f := range p.Files {
		here[f.Path] = true
	}
	var bytes int64
	files := 0
	largest := map[string]int64{} // by the first part of the name
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		to := path.Join(dir, name)
		note := func() error { left = append(left, name); return nil }
		switch {
		case name == ".":
			return err
		case err != nil && d != nil && d.IsDir():
			_ = note()
			return fs.SkipDir
		case err != nil || strings.ContainsAny(name, "\x00\n"):
			return note()
		case d.IsDir() && (slices.Contains(neverHere, d.Name()) || slices.Contains(skip, to) || isCache(root, name)):
			return fs.SkipDir
		case here[to]:
			return nil
		}
		if ok, _ := path.Match("gha-creds-*.json", d.Name()); ok {
			return nil
		}
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() && !d.IsDir() {
			return note()
		}
		f := File{Path: to, Mode: info.Mode() & modeBits, Source: to}
		if d.IsDir() {
			f.Mode |= fs.ModeDir
		} else if bytes += info.Size(); bytes <= maxHereBytes {
			if f.Data, err = root.ReadFile(name); err != nil {
				return note()
			}
		}
		first, _, _ := strings.Cut(name, "/")
		largest[first] += info.Size()
		if files++; files > maxHereFiles || bytes > maxHereBytes {
			most := first
			for n, size := range largest {
				if size > largest[most] {
					most = n
				}
			}
			return fmt.Errorf("the working directory %s has more than the %d MiB or %d files that are brought along (most of it is in %s): leave some out with --exclude, run in a smaller directory, or use --host-root, which brings nothing", dir, maxHereBytes>>20, maxHereFiles, path.Join(dir, most))
		}
		p.Files = append(p.Files, f)
		return nil
	})
	p.here = dir
	return left, err
}

// isCache says whether a directory says of itself that it is a cache's.
func isCache(root *os.Root, dir string) bool {
	const tag = "Signature: 8a477f597d28d172789f06886806bc55" // bford.info/cachedir
	f, err := root.Open(path.Join(dir, "CACHEDIR.TAG"))
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(tag))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == tag
}

// PlaceHere ends what AddHere began, when all files are added: those below the
// directory go where init shows them at it, whatever is mounted there.
func (p *Payload) PlaceHere() error {
	if p.here == "" {
		return nil
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run"} {
		if within(p.here, dir) {
			return fmt.Errorf("the working directory %s is in %s, which is the guest's own: change to another", p.here, dir)
		}
	}
	if p.here == "/" {
		return errors.New("the working directory is /: change to that of the tests, or use --host-root")
	}
	moved := []File{{Path: wire.HereDir, Mode: fs.ModeDir | 0o755}}
	for _, f := range p.Files {
		if rest, ok := strings.CutPrefix(f.Path, p.here+"/"); ok {
			f.Path = path.Join(wire.HereDir, rest)
		}
		moved = append(moved, f)
	}
	p.Files, p.Job.Here = moved, p.here
	return nil
}
