package apt

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// stanza is what counts of one package in a Packages file (deb-control(5)).
type stanza struct {
	Package, Version, Source, Depends, Filename, SHA256 string

	Size    int64  // bytes
	Archive string // archiveMain or archiveSecurity: where Filename is
}

// maxStanzas caps the kernel packages of one list; bookworm has about 250.
const maxStanzas = 100_000

var (
	packageRE  = bounded.NewPattern(200, `^[a-z0-9][a-z0-9+.-]+$`)
	versionRE  = bounded.NewPattern(200, `^[A-Za-z0-9][A-Za-z0-9.+~:-]*$`)
	filenameRE = bounded.NewPattern(1000, `^[A-Za-z0-9][A-Za-z0-9._+~:%/-]*$`)
)

// maxField caps a line of a list, in bytes. The longest are dependencies.
const maxField = 16 << 20

// parsePackages returns the packages that want wants. The text is 50 MB, so
// other packages are skipped without looking at their fields; stanzas with a
// field that is not well formed are passed over.
func parsePackages(r io.Reader, want func(pkg string) bool) ([]stanza, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxField)
	var out []stanza
	var s stanza
	skip := false
	for more := true; more; {
		more = lines.Scan()
		line := bytes.TrimRight(lines.Bytes(), "\r")
		switch {
		case len(line) == 0 || !more: // the last stanza needs no empty line
			if !skip && s.valid() && want(s.Package) {
				out = append(out, s)
			}
			s, skip = stanza{}, false
		case !skip:
			skip = !s.field(line, want)
		}
		if len(out) > maxStanzas {
			return nil, &bounded.LimitError{What: "number of kernel packages in a list", Limit: maxStanzas}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read package list: %w", err)
	}
	return out, nil
}

// field takes one line; it returns false when the package is not wanted.
func (s *stanza) field(line []byte, want func(string) bool) bool {
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return true
	}
	value := bytes.TrimSpace(line[i+1:])
	switch string(line[:i]) {
	case "Package":
		s.Package = string(value)
		return want(s.Package)
	case "Version":
		s.Version = string(value)
	case "Source":
		s.Source = string(value)
	case "Depends":
		s.Depends = string(value)
	case "Filename":
		s.Filename = strings.TrimPrefix(string(value), "./")
	case "SHA256":
		s.SHA256 = string(value)
	case "Size":
		s.Size, _ = strconv.ParseInt(string(value), 10, 64) // 0 is not valid
	}
	return true
}

func (s *stanza) valid() bool {
	_, err := kernel.DigestHex(kernel.DigestPrefix + s.SHA256)
	return err == nil && packageRE.MatchString(s.Package) && versionRE.MatchString(s.Version) &&
		validFilename(s.Filename) && s.Size > 0 && s.Size <= unpack.MaxArchive
}

var sourceRE = bounded.NewPattern(200, `^([a-z0-9][a-z0-9+.-]+)( \(([A-Za-z0-9][A-Za-z0-9.+~:-]*)\))?$`)

// source returns the source package and its version: those of the package itself,
// where it does not say others.
func (s *stanza) source() string {
	name, version := s.Package, s.Version
	if sourceRE.MatchString(s.Source) {
		source, its, ok := strings.Cut(strings.TrimSuffix(s.Source, ")"), " (")
		if name = source; ok {
			version = its
		}
	}
	return name + " " + version
}

func validFilename(name string) bool { return filenameRE.MatchString(name) && fs.ValidPath(name) }

// exactDeps returns the "name (= version)" dependencies without alternatives.
func (s *stanza) exactDeps() map[string]string {
	deps := map[string]string{}
	for d := range strings.SplitSeq(s.Depends, ",") {
		name, version, ok := strings.Cut(strings.TrimSpace(d), " (= ")
		if version, closed := strings.CutSuffix(version, ")"); ok && closed && !strings.Contains(d, "|") {
			deps[name] = version
		}
	}
	return deps
}

// isKernelPackage tells the packages that can be part of a kernel.
func isKernelPackage(name string) bool {
	for _, prefix := range kernelPackages() {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// kernelPackages are the packages' prefixes in the order to unpack them in. Up
// to 6.x linux-image holds all. From 7.x on it is a shell: linux-base holds the
// config, linux-binary the image, linux-modules the modules.
func kernelPackages() []string {
	return []string{"linux-base-", "linux-image-", "linux-binary-", "linux-modules-"}
}

// debianRelease is the version part of a kernel's package: 6.1.0-56,
// 6.12.117+deb13, 6.1.0-0.deb11.48, 7.2.13+deb14. The meta packages
// (linux-image-6.12-amd64) have two components or none.
var debianRelease = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9][0-9a-z.~]*)?(\+[0-9a-z.~]+)?$`)

// build is one build of a flavour.
type build struct {
	Release string // uname -r
	Version string // of the package
	Flavour string
	Source  string // package, and its version
	Modules bool
	Debs    []deb // in the order to unpack them in
}

// deb is a package file in an archive. Its JSON is a Ref's locator.
type deb struct {
	Archive string `json:"archive"`
	File    string `json:"file"` // below the archive's root
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"` // bytes
}

// index finds packages by name. Of equal ones it holds the first, and the main
// archive comes first.
type index map[string][]*stanza

func newIndex(list []stanza) index {
	x := index{}
	for i := range list {
		if s := &list[i]; x.find(s.Package, s.Version) == nil {
			x[s.Package] = append(x[s.Package], s)
		}
	}
	return x
}

func (x index) find(name, version string) *stanza {
	for _, s := range x[name] {
		if s.Version == version {
			return s
		}
	}
	return nil
}

// newBuild makes a build of packages, in the order to unpack them in.
func newBuild(release, version string, packages []*stanza) build {
	b := build{Release: release, Version: version, Source: packages[0].source(), Modules: true}
	for _, p := range packages {
		b.Debs = append(b.Debs, deb{Archive: p.Archive, File: p.Filename, SHA256: p.SHA256, Size: p.Size})
	}
	return b
}

func sortBuilds(kernels []build) {
	slices.SortFunc(kernels, func(a, b build) int {
		return strings.Compare(a.Release+"\x00"+a.Version, b.Release+"\x00"+b.Version)
	})
}

// selectKernels finds every build of the flavours. Of a build that is there
// signed and unsigned the signed one counts, being what users run. bare are the
// IDs of those listed without modules or config: backports keeps old signed
// packages when the unsigned ones of the same build are gone.
func selectKernels(list []stanza, flavours []string) (kernels []build, bare []string) {
	packages := newIndex(list)
	for name, builds := range packages {
		uname, flavour, unsigned, ok := kernelOf(name, flavours)
		if !ok {
			continue
		}
		for _, s := range builds {
			if unsigned && packages.find("linux-image-"+uname, s.Version) != nil {
				continue
			}
			parts, missing := s.parts(uname, packages)
			if slices.Contains(missing, "linux-binary-"+uname) {
				continue // nothing to boot
			}
			if len(missing) > 0 {
				bare = append(bare, uname)
			}
			k := newBuild(uname, s.Version, parts)
			k.Flavour, k.Modules = flavour, !slices.Contains(missing, "linux-modules-"+uname)
			kernels = append(kernels, k)
		}
	}
	slices.Sort(bare)
	sortBuilds(kernels)
	return kernels, bare
}

// kernelOf splits linux-image-<uname>[-unsigned] where the uname ends in one of
// the flavours.
func kernelOf(pkg string, flavours []string) (uname, flavour string, unsigned, ok bool) {
	uname, ok = strings.CutPrefix(pkg, "linux-image-")
	if !ok {
		return "", "", false, false
	}
	uname, unsigned = strings.CutSuffix(uname, "-unsigned")
	for _, f := range flavours {
		if release, ok := strings.CutSuffix(uname, "-"+f); ok && debianRelease.MatchString(release) {
			return uname, f, unsigned, true
		}
	}
	return "", "", false, false
}

// parts follows the exact-version dependencies on packages of the same kernel;
// missing are those that the list does not have.
func (s *stanza) parts(uname string, packages index) (all []*stanza, missing []string) {
	all = []*stanza{s}
	seen := map[string]bool{s.Package: true}
	for i := 0; i < len(all); i++ {
		deps := all[i].exactDeps()
		for _, prefix := range kernelPackages() {
			name := prefix + uname
			version, ok := deps[name]
			if !ok || seen[name] {
				continue
			}
			seen[name] = true
			if dep := packages.find(name, version); dep != nil {
				all = append(all, dep)
			} else {
				missing = append(missing, name)
			}
		}
	}
	if seen["linux-binary-"+uname] {
		all = all[1:] // the shell: nothing in it
	}
	rank := func(s *stanza) int {
		return slices.IndexFunc(kernelPackages(), func(p string) bool { return strings.HasPrefix(s.Package, p) })
	}
	slices.SortStableFunc(all, func(a, b *stanza) int { return rank(a) - rank(b) })
	return all, missing
}

// debsDigest returns the package's digest, or one over the sorted digests of
// several.
func debsDigest(debs []deb) string {
	if len(debs) == 1 {
		return kernel.DigestPrefix + debs[0].SHA256
	}
	var sums []string
	for _, d := range debs {
		sums = append(sums, d.SHA256)
	}
	return kernel.DigestOfAll(sums)
}

// parseLocator reads a Ref's packages and checks that its digest is theirs. The
// Ref may come from a plan that someone else wrote.
func parseLocator(ref kernel.Ref) ([]deb, error) {
	var debs []deb
	if err := json.Unmarshal([]byte(ref.Locator), &debs); err != nil {
		return nil, fmt.Errorf("locator does not name Debian packages: %w", err)
	}
	if len(debs) == 0 || len(debs) > 8 {
		return nil, fmt.Errorf("locator names %d packages", len(debs))
	}
	for _, d := range debs {
		if _, err := kernel.DigestHex(kernel.DigestPrefix + d.SHA256); err != nil {
			return nil, err
		}
		if !validFilename(d.File) || d.Archive != archiveMain && d.Archive != archiveSecurity || d.Size <= 0 || d.Size > unpack.MaxArchive {
			return nil, fmt.Errorf("locator is not valid: %q", ref.Locator)
		}
	}
	if got := debsDigest(debs); got != ref.Digest {
		return nil, &kernel.DigestError{What: "the locator's list of packages", Want: ref.Digest, Got: got}
	}
	return debs, nil
}
