package repo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// ParseArch reads "[<flavour>][,url=URL][,repo=NAME][,key=FILE][,metadata=unsigned]":
// kernels of Arch Linux, or of another distribution that uses pacman. URL is a Server
// as in pacman.conf, or without repo= and $repo a mirror that is laid out as Arch's.
func ParseArch(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	flavour, o, err := kernel.CutOptions(spec, rest, "url", "repo", "key", "metadata")
	if err != nil {
		return nil, err
	}
	names := []string{"core", "extra"}
	if o.Repo != "" {
		names = []string{o.Repo}
	}
	for _, name := range append(slices.Clone(names), flavour) {
		if name != "" && !nameRE.MatchString(name) {
			return nil, kernel.Usagef("kernel source %q: %q is neither a package nor a repository of pacman: expected arch:linux-lts, arch:zen or the like", spec, name)
		}
	}
	s, err := newSource(spec, hostArch, cache, pacmanFormat())
	if err != nil {
		return nil, err
	}
	s.title, s.distro, s.flavour = "Arch Linux", "arch", flavour
	s.bases = []string{"https://geo.mirror.pkgbuild.com", "https://archive.archlinux.org/repos/last"}
	for _, name := range names {
		r := repository{name: name, path: name + "/os/$arch"}
		if o.Repo != "" && o.URL != "" { // its Server
			r.path = ""
		}
		s.repos = append(s.repos, r)
	}
	s.keyPatterns = []string{"/usr/share/pacman/keyrings/archlinux.gpg", "/usr/share/keyrings/archlinux.gpg"}
	if o.URL != "" {
		s.title = fetch.ShownURL(o.URL)
		s.keyPatterns = []string{"/usr/share/pacman/keyrings/*.gpg"} // of whom this machine trusts
	}
	return s, s.apply(o)
}

func pacmanFormat() format {
	return format{name: "pacman", index: "<repository>.db", suffix: ".pkg.tar", keys: "archlinux-keyring", read: readPacman, find: findPacman, signed: verifyPacman}
}

// Limits of a repository's database. That of Arch's extra has 15,000 packages in 8
// MB, which unpack to 80 MB.
const (
	maxDB    = 256 << 20 // bytes, compressed
	maxDBTar = 4 << 30   // bytes, unpacked
	maxDesc  = 1 << 20   // bytes of one package's
)

// readPacman returns the kernels of a repository at an address. Its database need not
// be signed, as Arch's is not: its packages are.
func readPacman(ctx context.Context, s *source, at string, repo repository, keys *keyring) (list []pkg, bad []string, err error) {
	file := at + "/" + repo.name + ".db"
	db, err := s.fetcher.Get(ctx, file, maxDB)
	if err != nil {
		return nil, nil, err
	}
	if !s.unsigned {
		if _, err := s.verifyBeside(ctx, file+".sig", db, keys); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", fetch.ShownURL(file), err)
		}
	}
	r, err := decompressed(db)
	if err == nil {
		defer r.Close()
		list, bad, err = parsePacman(ctx, r, s.basearch)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", fetch.ShownURL(file), err)
	}
	return list, bad, nil
}

// parsePacman returns the packages of a database that may be kernels. It is a tar
// with a file <name>-<version>/desc for each package.
func parsePacman(ctx context.Context, r io.Reader, arch string) (list []pkg, bad []string, err error) {
	found := false
	err = unpack.WalkTarUpTo(ctx, r, maxDBTar, func(name string, size int64, r io.Reader) error {
		dir, base := path.Split(name)
		if base != "desc" {
			return nil
		}
		found = true
		switch {
		case !strings.HasPrefix(dir, "linux") && !strings.HasPrefix(dir, "kernel"):
			return nil
		case size > maxDesc:
			return &bounded.LimitError{What: "size of a package's description", Limit: maxDesc}
		case len(list) >= maxKernels:
			return &bounded.LimitError{What: "number of packages in a repository", Limit: maxKernels}
		}
		desc, err := io.ReadAll(io.LimitReader(r, maxDesc))
		if err != nil {
			return err
		}
		p, err := parseDesc(string(desc))
		if err != nil && len(bad) < 100 {
			bad = append(bad, bounded.OneLine(fmt.Sprintf("%.100q: %v", dir, err)))
		}
		if err == nil && (p.Arch == arch || strings.HasPrefix(p.Arch, arch+"_v")) { // CachyOS's x86_64_v3
			list = append(list, p)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the list of packages: %w", err)
	}
	if !found {
		// Any file of zeroes reads as an empty tar.
		return nil, nil, errors.New("read the list of packages: there is none in it")
	}
	return list, bad, nil
}

// kernelSignRE is what kernels depend on or provide, and their headers and modules of
// others do not: drivers that are in every kernel since Linux 5.15 among them.
var kernelSignRE = regexp.MustCompile(`^(coreutils|initramfs|linux|(WIREGUARD|KSMBD)-MODULE)([<>=]|$)`)

// parseDesc reads a package's description: lines of %KEY%, each followed by lines of
// values up to an empty one.
func parseDesc(text string) (p pkg, err error) {
	fields := map[string][]string{}
	key := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			key = ""
		case key == "" && len(line) > 2 && line[0] == '%' && line[len(line)-1] == '%':
			key = line
		case key != "":
			fields[key] = append(fields[key], line)
		}
	}
	first := func(key string) string {
		if v := fields[key]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(first(key), 10, 64) // 0 is not valid, or not known
		return n
	}
	p.Name, p.Arch, p.Location.Href = first("%NAME%"), first("%ARCH%"), first("%FILENAME%")
	version := first("%VERSION%")
	version = version[strings.Index(version, ":")+1:] // the epoch is no part of the file's name
	if i := strings.LastIndex(version, "-"); i >= 0 {
		p.Version.Version, p.Version.Release = version[:i], version[i+1:]
	}
	p.Checksum = checksum{"sha256", first("%SHA256SUM%")}
	p.Size.Package, p.Size.Installed = number("%CSIZE%"), number("%ISIZE%")
	p.Time.Build = number("%BUILDDATE%")
	p.signature = first("%PGPSIG%")
	if base := first("%BASE%"); base != "" {
		p.Source = base + "-" + p.Version.Version + "-" + p.Version.Release
	}
	p.bootable = slices.ContainsFunc(slices.Concat(fields["%DEPENDS%"], fields["%PROVIDES%"]), kernelSignRE.MatchString)
	switch {
	case strings.ContainsRune(p.Location.Href, '/'):
		return p, fmt.Errorf("its file %q is not in the repository's directory", p.Location.Href)
	case len(p.signature) > maxSignature:
		return p, &bounded.LimitError{What: "size of its signature", Limit: maxSignature}
	}
	return p, p.check()
}

// findPacman finds every kernel, and whatever package is named like the flavour. The
// usual ones are linux and linux-lts, or all of a repository that has neither.
func findPacman(list []pkg, flavour string) (kernels []build) {
	usual := func(name string) bool { return name == "linux" || name == "linux-lts" }
	for i := range list {
		p := &list[i]
		if p.Size.Installed < minInstalled || !p.bootable && !usual(p.Name) && !isFlavour(p.Name, flavour) {
			continue
		}
		version := p.Version.Version + "-" + p.Version.Release
		kernels = append(kernels, build{release: p.pacmanUname(), name: version + "__" + p.Name, stem: p.Name, modules: true, packages: []*pkg{p}})
	}
	all := !slices.ContainsFunc(kernels, func(k build) bool { return usual(k.stem) })
	for i := range kernels {
		kernels[i].usual = all || usual(kernels[i].stem)
	}
	return kernels
}

// pacmanUname guesses what a kernel calls itself from how Arch names its own:
// 6.9.3-arch1-1 of linux 6.9.3.arch1-1, 6.6.32-1-lts of linux-lts 6.6.32-1. The version
// comes first in any case.
func (p *pkg) pacmanUname() string {
	version := p.Version.Version
	if i := strings.LastIndex(version, "."); i >= 0 && strings.Trim(version[i+1:], "0123456789") != "" {
		version = version[:i] + "-" + version[i+1:] // which a version of pacman's cannot have
	}
	release := version + "-" + p.Version.Release
	if f := flavourOf(p.Name); f != p.Name {
		release += "-" + f
	}
	return release
}

// verifyPacman checks a package against its signature, which is in the database or
// beside the package.
func verifyPacman(ctx context.Context, s *source, keys *keyring, file string, f packageFile) error {
	sig, err := base64.StdEncoding.DecodeString(f.Signature)
	if err != nil {
		return fmt.Errorf("%w: %w", kernel.ErrSignature, err)
	}
	if f.Signature == "" {
		repo, _ := s.repo(f.Repo) // parseLocator has looked
		err = s.firstOf(ctx, repo, func(at string) error {
			uri, err := resolveHref(at, f.File+".sig")
			if err == nil {
				sig, err = s.fetcher.Get(ctx, uri, maxSignature)
			}
			return err
		})
		if fetch.Gone(err) {
			return fmt.Errorf("%w: the package is not signed", kernel.ErrSignature)
		}
		if err != nil {
			return err
		}
	}
	p, err := os.Open(file)
	if err != nil {
		return err
	}
	defer p.Close()
	return keys.verify(bounded.Reader(ctx, p), sig)
}
