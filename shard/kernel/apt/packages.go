package apt

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
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
	Package, Version, Depends, Filename, SHA256 string

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

// parsePackages returns the packages that want wants. The text is 50 MB, so
// other packages are skipped without looking at their fields; stanzas with a
// field that is not well formed are passed over.
func parsePackages(r io.Reader, want func(pkg string) bool) ([]stanza, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	var (
		out  []stanza
		s    stanza
		skip bool
	)
	flush := func() error {
		if !skip && s.valid() && want(s.Package) {
			if len(out) >= maxStanzas {
				return &bounded.LimitError{What: "number of kernel packages in a list", Limit: maxStanzas}
			}
			out = append(out, s)
		}
		s, skip = stanza{}, false
		return nil
	}
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) { // no field we read is that long
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = br.ReadSlice('\n')
			}
			line = []byte(" ")
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read package list: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			if err := flush(); err != nil {
				return nil, err
			}
		case skip:
		default:
			skip = !s.field(line, want)
		}
		if err != nil {
			return out, flush()
		}
	}
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
	case "Depends":
		s.Depends = string(value)
	case "Filename":
		s.Filename = string(value)
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
	Debs    []deb  // in the order to unpack them in
}

// deb is a package file in an archive. Its JSON is a Ref's locator.
type deb struct {
	Archive string `json:"archive"`
	File    string `json:"file"` // below the archive's root
	SHA256  string `json:"sha256"`
	Size    int64  `json:"size"` // bytes
}

// selectKernels finds every build of the flavours. Of a build that is there
// signed and unsigned the signed one counts, being what users run. bare are the
// IDs of those listed without modules or config: backports keeps old signed
// packages when the unsigned ones of the same build are gone.
func selectKernels(list []stanza, flavours []string) (kernels []build, bare []string) {
	byKey := map[[2]string]*stanza{} // first of equals: the main archive comes first
	for i := range list {
		key := [2]string{list[i].Package, list[i].Version}
		if byKey[key] == nil {
			byKey[key] = &list[i]
		}
	}
	for _, s := range byKey {
		uname, unsigned, ok := kernelOf(s.Package, flavours)
		if !ok || unsigned && byKey[[2]string{"linux-image-" + uname, s.Version}] != nil {
			continue
		}
		debs, missing := s.parts(uname, byKey)
		if slices.Contains(missing, "linux-binary-"+uname) {
			continue // nothing to boot
		}
		if len(missing) > 0 {
			bare = append(bare, uname)
		}
		kernels = append(kernels, build{Release: uname, Version: s.Version, Debs: debs})
	}
	slices.Sort(bare)
	slices.SortFunc(kernels, func(a, b build) int {
		return strings.Compare(a.Release+"\x00"+a.Version, b.Release+"\x00"+b.Version)
	})
	return kernels, bare
}

// kernelOf splits linux-image-<uname>[-unsigned] where the uname ends in one of
// the flavours.
func kernelOf(pkg string, flavours []string) (uname string, unsigned, ok bool) {
	uname, ok = strings.CutPrefix(pkg, "linux-image-")
	if !ok {
		return "", false, false
	}
	uname, unsigned = strings.CutSuffix(uname, "-unsigned")
	for _, f := range flavours {
		if release, ok := strings.CutSuffix(uname, "-"+f); ok && debianRelease.MatchString(release) {
			return uname, unsigned, true
		}
	}
	return "", false, false
}

// parts follows the exact-version dependencies on packages of the same kernel;
// missing are those that the list does not have.
func (s *stanza) parts(uname string, byKey map[[2]string]*stanza) (debs []deb, missing []string) {
	all := []*stanza{s}
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
			dep := byKey[[2]string{name, version}]
			if dep == nil {
				missing = append(missing, name)
				continue
			}
			all = append(all, dep)
		}
	}
	rank := func(s *stanza) int {
		return slices.IndexFunc(kernelPackages(), func(p string) bool { return strings.HasPrefix(s.Package, p) })
	}
	slices.SortStableFunc(all, func(a, b *stanza) int { return rank(a) - rank(b) })
	for _, p := range all {
		if p == s && seen["linux-binary-"+uname] {
			continue // the shell: nothing in it
		}
		debs = append(debs, deb{Archive: p.Archive, File: p.Filename, SHA256: p.SHA256, Size: p.Size})
	}
	return debs, missing
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
