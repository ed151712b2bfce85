package gobuild

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
)

// Limits of the files, together: as large as those of the guest's payload.
const (
	maxFiles = 10_000
	maxBytes = 2 << 30
	maxDepth = 50 // of directories, so that links which lead back end
)

// secretNames are files and directories where programs look for passwords and
// keys. Below testdata names that begin with a dot come along else.
var secretNames = []string{
	".aws", ".azure", ".docker", ".env", ".gcloud", ".git-credentials", ".gnupg", ".kube", ".netrc", ".npmrc", ".pgpass", ".pypirc", ".ssh",
}

// gatherer gathers the files that tests may read, each once.
type gatherer struct {
	files []guest.File
	at    map[string]bool // paths in the guest
	bytes int64
	left  map[string][]string // paths here that are left out, by the reason

	tree     fs.FS  // of a module; a link out of it is not followed, since it could bring any file of this machine
	from, to string // the module's directory here and in the guest
}

// gather adds the files in the directories of all packages, testdata and embedded
// files below them, and the modules' own. It gives each program its directory.
func (b *builder) gather(tests *Tests, packages []*listed) error {
	base := commonDir(packages)
	g := gatherer{at: map[string]bool{}, left: map[string][]string{}}
	for _, p := range packages {
		below, err := filepath.Rel(p.Module.Dir, p.Dir)
		if err != nil || !filepath.IsLocal(below) {
			return fmt.Errorf("package %s: its directory %s is not in its module's, %s", p.ImportPath, p.Dir, p.Module.Dir)
		}
		module, err := filepath.Rel(base, p.Module.Dir)
		if err != nil {
			return err
		}
		g.from, g.to = p.Module.Dir, path.Join(SourceDir, filepath.ToSlash(module))
		if err := g.add(p, filepath.ToSlash(below)); err != nil {
			return fmt.Errorf("the files of package %s: %w", p.ImportPath, err)
		}
		for i := range tests.Programs {
			if tests.Programs[i].Package == p.ImportPath {
				tests.Programs[i].Dir = path.Join(g.to, filepath.ToSlash(below))
			}
		}
	}
	tests.Files = g.files
	for why, names := range g.left {
		const most = 5
		shown := strings.Join(names[:min(len(names), most)], ", ")
		if more := len(names) - most; more > 0 {
			shown += fmt.Sprintf(" and %d more", more)
		}
		b.Warn(fmt.Sprintf("left out of the guest, since %s: %s; --file brings what tests need", why, shown))
	}
	return nil
}

// commonDir is the directory that all modules are in: of one module its own.
func commonDir(packages []*listed) string {
	base := packages[0].Module.Dir
	for _, p := range packages {
		for rel, err := filepath.Rel(base, p.Module.Dir); err == nil && !filepath.IsLocal(rel); rel, err = filepath.Rel(base, p.Module.Dir) {
			base = filepath.Dir(base)
		}
	}
	return base
}

// add adds the files of a package, which is in the directory below of its module.
func (g *gatherer) add(p *listed, below string) error {
	root, err := os.OpenRoot(g.from)
	if err != nil {
		return err
	}
	defer root.Close()
	g.tree = root.FS()
	var names []string
	for _, name := range []string{"go.mod", "go.sum", "go.work"} {
		if _, err := fs.Stat(g.tree, name); err == nil {
			names = append(names, name)
		}
	}
	entries, err := fs.ReadDir(g.tree, below)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") { // such as .env; the go command passes over them as well
			names = append(names, path.Join(below, e.Name()))
		}
	}
	for _, name := range slices.Concat(p.EmbedFiles, p.TestEmbedFiles, p.XTestEmbedFiles) {
		names = append(names, path.Join(below, filepath.ToSlash(name)))
	}
	for _, name := range names {
		if err := g.file(name, path.Base(name) == "testdata"); err != nil {
			return err
		}
	}
	return nil
}

// file adds a file or, if it is deep, a directory with all that is in it.
func (g *gatherer) file(name string, deep bool) error {
	at := path.Join(g.to, name)
	// google-github-actions/auth leaves credentials in the workspace.
	if secret, _ := path.Match("gha-creds-*.json", path.Base(name)); secret || g.at[at] || path.Base(name) == ".git" {
		return nil
	}
	host := filepath.Join(g.from, filepath.FromSlash(name))
	leave := func(why string) error {
		g.at[at] = true
		g.left[why] = append(g.left[why], host)
		return nil
	}
	info, err := fs.Stat(g.tree, name)
	switch {
	case err != nil:
		return leave("it cannot be read, or is a link that leads nowhere or out of the module")
	case info.IsDir() && !deep:
		return nil
	case slices.Contains(secretNames, path.Base(name)):
		return leave("it may have passwords or keys")
	case strings.ContainsAny(at, "\x00\n"):
		return leave("its name has a newline")
	case strings.Count(name, "/") > maxDepth:
		return leave("it is too deep in directories")
	case len(g.files) >= maxFiles || g.bytes+info.Size() > maxBytes:
		return fmt.Errorf("more than %d files or %d MiB: name fewer packages, or move what no test reads out of their directories and testdata", maxFiles, maxBytes>>20)
	case info.IsDir():
		entries, err := fs.ReadDir(g.tree, name)
		if err != nil {
			return leave("it cannot be read")
		}
		g.at[at] = true
		g.files = append(g.files, guest.File{Path: at, Mode: fs.ModeDir | info.Mode().Perm()})
		for _, e := range entries {
			if err := g.file(path.Join(name, e.Name()), true); err != nil {
				return err
			}
		}
		return nil
	case !info.Mode().IsRegular():
		return leave("it is no file")
	}
	data, err := fs.ReadFile(g.tree, name)
	if err != nil {
		return leave("it cannot be read")
	}
	g.at[at] = true
	g.bytes += int64(len(data))
	g.files = append(g.files, guest.File{Path: at, Mode: info.Mode().Perm(), Data: data, Source: host})
	return nil
}
