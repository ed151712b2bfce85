package apt

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// Names of the two archives that Debian and Ubuntu consist of.
const (
	archiveMain     = "main"
	archiveSecurity = "security"
)

// mirrors says where a distribution's packages come from and who signs them.
type mirrors struct {
	vendor         string   // "Debian": as people write it, and the Origin of its lists
	main, security string   // base URLs without a trailing slash
	keys           string   // that they are signed with, in ASCII armor
	hostKeyring    string   // path of the distribution's own, which need not be there, or a pattern of several
	keyring        string   // path of the user's, instead of both; "" for none
	paths          []string // that a mirror's URL ends with
	discover       bool     // prefer the mirrors that the host's apt is configured for
}

func publicDebian() mirrors {
	return mirrors{
		vendor:      "Debian",
		main:        "http://ftp.debian.org/debian",
		security:    "http://security.debian.org/debian-security",
		keys:        debianKeys,
		hostKeyring: "/usr/share/keyrings/debian-archive-keyring.gpg",
		paths:       []string{"debian", "debian-security"},
		discover:    true,
	}
}

// publicUbuntu depends on the architecture: all but amd64 are "ports".
func publicUbuntu(arch string) mirrors {
	a := mirrors{
		vendor:      "Ubuntu",
		main:        "http://archive.ubuntu.com/ubuntu",
		security:    "http://security.ubuntu.com/ubuntu",
		keys:        ubuntuKeys,
		hostKeyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
		paths:       []string{"ubuntu"},
		discover:    true,
	}
	if arch != "amd64" {
		a.main, a.paths = "http://ports.ubuntu.com/ubuntu-ports", []string{"ubuntu-ports"}
		a.security = a.main
	}
	return a
}

func (a mirrors) url(name string) string {
	if name == archiveSecurity {
		return a.security
	}
	return a.main
}

// mirrorsLimit is far above the second that apt takes on an idle machine.
const mirrorsLimit = 2 * time.Minute

// hostMirrors returns a with the mirrors of the host's own configuration, as
// apt reads it: one-line and deb822 files, and whatever else apt comes to know.
// A host without mirrors of the distribution keeps a as it is. An apt that does
// not answer is an error: other mirrors may have other kernels, or be out of
// reach. What apt said is believed while its files stay as they are, and no
// longer than a list of kernels: they can name others.
func (a mirrors) hostMirrors(ctx context.Context, cache *kernel.Cache, now time.Time) (mirrors, error) {
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return a, nil // the update will say so
	}
	var targets string
	key := now.Truncate(kernel.ListAge).String() + "\n" + stamps("/etc/apt", "/var/lib/apt/lists", os.Getenv("APT_CONFIG"))
	err = cache.RememberOf(apt, key, &targets, func() (bool, error) {
		out, err := a.targets(ctx, apt, filepath.Join(cache.Dir(), "apt"))
		targets = string(out)
		return true, err
	})
	if err != nil {
		return a, fmt.Errorf("ask apt for this machine's mirrors of %s: %w", a.vendor, err)
	}
	return a.withTargets(targets), nil
}

// stamps says which files there are below some, and when each changed last.
func stamps(roots ...string) string {
	var b strings.Builder
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, _ fs.DirEntry, _ error) error {
			if info, err := os.Stat(path); err == nil { // of what a link leads to
				sys, _ := info.Sys().(*syscall.Stat_t)
				fmt.Fprintln(&b, path, info.Size(), sys.Mtim, sys.Ctim, sys.Ino)
			}
			return nil // what cannot be read has no stamp
		})
	}
	return b.String()
}

// targets has apt say which lists this machine has. dir is for files of ours.
func (a mirrors) targets(ctx context.Context, apt, dir string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, mirrorsLimit, fmt.Errorf("apt-get indextargets did not answer within %v", mirrorsLimit))
	defer cancel()
	args := []string{"indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)", "Created-By: Packages"}
	if _, err := os.Stat("/var/cache/apt/pkgcache.bin"); err != nil {
		// Images for containers have apt parse all lists anew each time, which
		// takes a second.
		args = append(args, "-o", "Dir::Cache::srcpkgcache=", "-o", "Dir::Cache::pkgcache="+filepath.Join(dir, "pkgcache.bin"))
	}
	cmd := exec.CommandContext(ctx, apt, args...)
	cmd.Env = append(child.Environ(), "LC_ALL=C")
	var errs bounded.Tail
	cmd.Stderr = &errs
	out, err := child.Output(cmd)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, cmp.Or(bounded.OneLine(errs.String()), "apt-get indextargets said nothing; try again"))
	}
	return out, nil
}

// withTargets reads lines of "URI|suite|component|origin". The origin is only
// known, and only filled in, once the host has fetched its lists; until then a
// mirror is told by its path, as the guides to mirrors ask for.
func (a mirrors) withTargets(lines string) mirrors {
	var main, security string
	for line := range strings.SplitSeq(lines, "\n") {
		f := strings.Split(line, "|")
		if len(f) != 4 || f[2] != "main" {
			continue
		}
		uri := strings.TrimRight(f[0], "/")
		if !validMirror(uri) {
			continue
		}
		isSecurity := strings.HasSuffix(f[1], "-security") || strings.HasSuffix(f[1], "/updates")
		if f[3] != a.vendor && (!strings.HasPrefix(f[3], "$(") || !slices.Contains(a.paths, path.Base(uri))) {
			continue
		}
		switch {
		case isSecurity && security == "":
			security = uri
		case !isSecurity && main == "":
			main = uri
		}
	}
	if main != "" {
		a.main = main
	}
	if security != "" {
		a.security = security
	}
	return a
}

// validMirror takes what can stand in a sources file and have a path appended.
func validMirror(uri string) bool {
	scheme, _, _ := strings.Cut(uri, ":")
	switch scheme {
	case "http", "https", "file", "tor+http", "tor+https":
	default:
		return false
	}
	return !strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == '"' || r == '[' || r > '~' })
}
