package apt

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// PackageSet is what a root file system of a Debian suite is made of: its
// essential packages, those that were named, and all that they depend on.
type PackageSet struct {
	source *source
	refs   []kernel.Ref // one for each package, in the order to unpack them in
}

// FindPackages reads "<suite>[+<package>...][,url=URL][,key=FILE]" and has apt
// find the packages, unless it did so less than an hour ago.
func FindPackages(ctx context.Context, spec, rest, arch string, cache *kernel.Cache) (*PackageSet, error) {
	s, names, err := parsePackageSet(spec, rest, arch, cache)
	if err != nil {
		return nil, err
	}
	root, err := s.apt(ctx)
	if err != nil {
		return nil, err
	}
	refs, err := cache.Remembered(ctx, s.key(root)+"\x00root", root.title(), s.now, func(ctx context.Context) ([]kernel.Ref, error) {
		return s.findPackages(ctx, root, names)
	})
	return &PackageSet{s, refs}, err
}

// nextPackage finds the name after a plus sign. A name may hold two of them, as
// g++ and libstdc++6 do.
var nextPackage = regexp.MustCompile(`^\+([a-z0-9][a-z0-9.-]*(?:\+\+[a-z0-9.-]*)?)`)

func parsePackageSet(spec, rest, arch string, cache *kernel.Cache) (*source, []string, error) {
	head, o, err := kernel.CutOptions(spec, rest, "url", "key")
	if err != nil {
		return nil, nil, err
	}
	suite, packages, _ := strings.Cut(head, "+")
	if packages != "" || suite != head {
		packages = "+" + packages
	}
	suites := slices.DeleteFunc(debianSuites(), func(s string) bool { return strings.HasSuffix(s, "-backports") })
	if !slices.Contains(suites, suite) {
		return nil, nil, kernel.Usagef("--rootfs %q: unknown Debian suite %q%s; valid suites are %s", spec, suite, kernel.Suggest(suite, suites), strings.Join(suites, ", "))
	}
	if goarch.Lookup(arch).Name == "" {
		return nil, nil, kernel.Usagef("--rootfs %q: Debian packages for %q are not supported; use %s", spec, arch, goarch.List())
	}
	var names []string
	for packages != "" {
		m := nextPackage.FindStringSubmatch(packages)
		// apt takes a name that ends in a minus sign for one to remove.
		if m == nil || len(m[1]) > 200 || strings.HasSuffix(m[1], "-") {
			return nil, nil, kernel.Usagef("--rootfs %q: %q is no list of packages: expected +<package>, such as debian:bookworm+bash+iproute2", spec, packages)
		}
		names = append(names, m[1])
		packages = packages[len(m[0]):]
	}
	s, err := newSource(spec, "debian", suite, arch, cache, publicDebian(), o)
	return s, names, err
}

// uriRE finds what apt would fetch: where, and what it has to be.
var uriRE = regexp.MustCompile(`(?m)^'([^']+)' (\S+) ([0-9]+) SHA256:([0-9a-f]{64})$`)

// installed is what counts as being there: packages that only move files into
// /usr, which unpacking does by itself.
const installed = "Package: usr-is-merged\nStatus: install ok installed\nArchitecture: all\nVersion: 99\nMaintainer: none\nDescription: none\n\n"

const (
	maxPackages = 5000 // of a set
	atOnce      = 500  // of those, in one command line, whose length Linux limits
)

func (s *source) findPackages(ctx context.Context, root *privateRoot, names []string) ([]kernel.Ref, error) {
	unlock, err := s.lockRoot(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := root.update(ctx); err != nil {
		return nil, err
	}
	status := filepath.Join(root.dir, "status-root")
	if err := os.WriteFile(status, []byte(installed), 0o644); err != nil {
		return nil, err
	}
	args := []string{
		"install", "-qq", "--print-uris", "--no-install-recommends",
		"-o", "Acquire::ForceHash=SHA256", "-o", "Dir::State::status=" + status, "-o", "Debug::NoLocking=true",
		"-o", "pkgCacheFile::Generate=true", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=",
		"--", "?and(?essential, ?not(?exact-name(apt)))",
	}
	out, err := root.output(ctx, "apt-get", append(args, names...)...)
	if err != nil {
		return nil, err
	}
	var refs []kernel.Ref
	var total int64
	for _, m := range uriRE.FindAllStringSubmatch(out, maxPackages) {
		d, err := root.debOf(m)
		if err != nil {
			return nil, fmt.Errorf("find packages of %s: %w", root.title(), err)
		}
		if total += d.Size; total > unpack.MaxArchive {
			return nil, &kernel.UsageError{Msg: "packages of " + root.title(), Err: &bounded.LimitError{What: "their size", Limit: unpack.MaxArchive}}
		}
		locator, err := json.Marshal([]deb{d})
		if err != nil {
			return nil, err
		}
		refs = append(refs, kernel.Ref{
			Distro: s.distro, Name: kernel.SafeName(strings.TrimSuffix(path.Base(d.File), ".deb")), Arch: s.arch,
			Digest: debsDigest([]deb{d}), Locator: string(locator), Size: d.Size,
		})
	}
	if n := strings.Count(out, "\n"); n != len(refs) || n == 0 {
		return nil, fmt.Errorf("find packages of %s: apt-get wrote %d lines, of which %d name a package with its SHA256", root.title(), n, len(refs))
	}
	return refs, nil
}

// debOf reads a match of uriRE.
func (r *privateRoot) debOf(m []string) (d deb, err error) {
	for _, archive := range []string{archiveMain, archiveSecurity} {
		file, ok := strings.CutPrefix(m[1], r.archive.url(archive)+"/")
		if file, err = url.PathUnescape(file); ok && err == nil && validFilename(file) {
			d = deb{Archive: archive, File: file, SHA256: m[4]}
			break
		}
	}
	if d.Size, _ = strconv.ParseInt(m[3], 10, 64); d.File == "" || d.Size <= 0 || d.Size > unpack.MaxArchive {
		return d, fmt.Errorf("apt-get would fetch %q, which is no package of the mirror", m[1])
	}
	return d, nil
}

// output is run for what is read from its standard output.
func (r *privateRoot) output(ctx context.Context, name string, args ...string) (string, error) {
	var b strings.Builder
	errs, err := r.runTo(ctx, &b, name, args...)
	if err == nil {
		return b.String(), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	text := aptErrors(errs)
	if text == "" {
		return "", aptMissing(err, "find packages of "+r.title())
	}
	return "", kernel.Usagef("packages of %s: %s: see https://packages.debian.org for the names that it has", r.title(), text)
}

// Key returns what changes when a package does.
func (p *PackageSet) Key() (key []string) {
	for _, r := range p.refs {
		key = append(key, r.Digest)
	}
	return append(key, p.source.arch)
}

// Unpack downloads the packages into dir and calls fn with each, in the order to
// unpack them in: with the script that Debian would run next, and the tar of its
// files.
func (p *PackageSet) Unpack(ctx context.Context, dir string, fn func(postinst string, files io.Reader) error) error {
	root, err := p.source.apt(ctx)
	if err != nil {
		return err
	}
	if err := p.source.setUp(ctx, root); err != nil {
		return err
	}
	var debs []deb
	var paths []string
	for i, r := range p.refs {
		d, err := parseLocator(r)
		if err != nil {
			return err
		}
		debs, paths = append(debs, d[0]), append(paths, filepath.Join(dir, fmt.Sprintf("%d.deb", i)))
	}
	for i := 0; i < len(debs); i += atOnce {
		end := min(i+atOnce, len(debs))
		if err := root.download(ctx, debs[i:end], paths[i:end]); err != nil {
			return err
		}
	}
	for i, path := range paths {
		postinst, err := unpack.Deb(path).Control(ctx, "postinst")
		if err == nil {
			err = unpack.Deb(path).Tar(ctx, "--fsys-tarfile", func(r io.Reader) error { return fn(postinst, r) })
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p.refs[i].Name, err)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
