package kernel

import (
	"context"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"
)

// Names of the two archives that Debian consists of.
const (
	archiveMain     = "main"
	archiveSecurity = "security"
)

// debianArchive says where Debian's packages come from and who signs them.
type debianArchive struct {
	main, security string // base URLs without a trailing slash
	keyring        string // path
	discover       bool   // prefer the mirrors that the host's apt is configured for
}

func publicDebian() debianArchive {
	return debianArchive{
		main:     "http://ftp.debian.org/debian",
		security: "http://security.debian.org/debian-security",
		keyring:  "/usr/share/keyrings/debian-archive-keyring.gpg",
		discover: true,
	}
}

func (a debianArchive) url(name string) string {
	if name == archiveSecurity {
		return a.security
	}
	return a.main
}

// hostMirrors returns a with the mirrors of the host's own configuration, as
// apt reads it: one-line and deb822 files, and whatever else apt comes to know.
// A host without Debian mirrors, such as Ubuntu, keeps a as it is.
func (a debianArchive) hostMirrors(ctx context.Context) debianArchive {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)", "Created-By: Packages")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	if err != nil {
		return a // the update will say what is wrong with apt
	}
	return a.withTargets(string(out))
}

// withTargets reads lines of "URI|suite|component|origin". The origin is only
// known, and only filled in, once the host has fetched its lists; until then a
// mirror is told by its path, as Debian's guide to mirrors asks for.
func (a debianArchive) withTargets(lines string) debianArchive {
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
		if f[3] != "Debian" {
			base := path.Base(uri)
			if !strings.HasPrefix(f[3], "$(") || base != "debian" && base != "debian-security" {
				continue
			}
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
