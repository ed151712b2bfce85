package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ spec, want string }{
		{"", "expected debian:<suite>"},
		{"a\x00b", "is not valid"},
		{"debain:bookworm", `did you mean "debian"?`},
		{"ftp:foo", "is not known"},
		{"debian:", "valid suites are bullseye"},
		{"debian:bookwurm", `did you mean "bookworm"?`},
		{"debian:bookworm:cloud-amd46", `did you mean "cloud-amd64"?`},
		{"debian:trixie:ppc64le", `did you mean "powerpc64le"?`},
		{"debian:trixie:x86_64", `did you mean "amd64"?`},
		{"debian:bookworm:", "valid flavours are amd64, cloud-amd64"},
		{"debian:bookworm:amd64:x", "valid flavours are"},
		{"debian:../../etc", "unknown Debian suite"},
		{"ubuntu:noble,ulr=http://x", `option ",ulr=" is not known, did you mean "url"?`},
		{"rpm:/repo,flavor=rt", `option ",flavor=" is not known, did you mean "flavour"?`},
		{"fedora:43,metadata=none", "want metadata=unsigned"},
		{"debian:sid,metadata=unsigned", "metadata= has no meaning here"},
		{"fedora:43,colour=red", `option ",colour=" is not known; valid are`},
	} {
		_, err := Parse(tc.spec, kerneltest.NewCache(t))
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want a UsageError with %q", tc.spec, err, tc.want)
		}
	}
	for _, spec := range []string{"debian:sid", "debian:unstable:rt-amd64", "debian:bookworm-backports:arm64-16k", "./debian:x"} {
		if _, err := Parse(spec, kerneltest.NewCache(t)); err != nil {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

func TestSpecsThatAreRefused(t *testing.T) {
	t.Parallel()
	c := kerneltest.NewCache(t)
	for spec, want := range map[string]string{
		"fedora:":                          "no release of Fedora",
		"fedora:forty":                     "no release of Fedora",
		"fedora:41:":                       "no kernel flavour",
		"fedora:41:a/b":                    "no kernel flavour",
		"fedora:41,url=":                   "is empty",
		"fedora:41,url=ftp://x":            "no address of a repository",
		"fedora:41,key=a,key=b":            "given twice",
		"fedora:41,flavour=rt":             "no meaning here",
		"rocky:9.x":                        "no release of Rocky Linux",
		"amazonlinux:1":                    "no release of Amazon Linux",
		"oraclelinux:6":                    "no release of Oracle Linux",
		"centos-stream:9.1":                "no release of CentOS Stream",
		"rpm:":                             "no address of a repository",
		"rpm:ssh://x/y":                    "no address of a repository",
		"rpm:http://localhost/x?y=z":       "no address of a repository",
		"rpm:http://localhost,url=http://": "no meaning here",
		"rpm:http://localhost,flavour=a/b": "no kernel flavour",
		"fedroa:41":                        `did you mean "fedora"`,
		"ubuntu:nobel":                     `did you mean "noble"`,
		"ubuntu:noble:AWS":                 "no kernel flavour",
		"ubuntu:24.04":                     "unknown Ubuntu series",
		"ubuntu:noble,url=ftp://x":         "no mirror that apt can read",
		"opensuse:15.6":                    "no release of openSUSE",
		"suse:15-SP6":                      "need a subscription",
		"arch:a/b":                         "neither a package nor a repository of pacman",
		"arch:,repo=../x":                  "neither a package nor a repository of pacman",
		"arch:,url=ftp://x":                "no address of a repository",
		"arhc:lts":                         `did you mean "arch"`,
		"apt:https://h.example bookworm":   "in quotes",
		"oci://":                           "names no repository",
		"oci://UPPER/case":                 "is not valid",
	} {
		_, err := Parse(spec, c)
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want a UsageError with %q", spec, err, want)
		}
	}
}

// A source's name and the errors about it are published: they have no passwords,
// and a plan is the same whatever the password is.
func TestNoSecretsInNames(t *testing.T) {
	c := kerneltest.NewCache(t)
	list := filepath.Join(t.TempDir(), "list")
	for _, tc := range []struct{ spec, want string }{ // want is the name; "" for an error
		{"rpm:https://me:sekret@h.example/x,flavour=rt", "rpm:https://h.example/x,flavour=rt"},
		{"fedora:43,url=https://sekret@h.example/x", "fedora:43,url=https://h.example/x"},
		{"apt:https://me:sekret@h.example/x bookworm main,trusted=yes", "apt:https://h.example/x bookworm main,trusted=yes"},
		{"arch:lts,url=https://me:sekret@h.example/$repo/os/$arch", "arch:lts,url=https://h.example/$repo/os/$arch"},
		{"apt:https://me:sekret@h.example/x", ""},
		{"debian:bookworm,url=https://me:sekret@h.example/debian", "debian:bookworm,url=https://h.example/debian"},
		{"ubuntu:noble,url=https://me:sekret@h.example/ubuntu", "ubuntu:noble,url=https://h.example/ubuntu"},
		{"rpm:https://h.example/x?token=sekret", ""},
		{"rpm:https://me:sekret@h.example/x?y", ""},
		{"fedora:43,url=ftp://me:sekret@h.example/x", ""},
		{"debian:bookworm:x,url=https://me:sekret@h.example/", ""},
		{"oci://me:sekret@h.example/X", ""},
		{"http://me:sekret@h.example/x.tar?sig=sekret", ""},
	} {
		for _, spec := range []string{tc.spec, "@" + list} {
			if err := os.WriteFile(list, []byte("# a list\n'"+tc.spec+"'\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := ParseAll([]string{spec}, c)
			switch {
			case (err == nil) != (tc.want != ""):
				t.Errorf("%s: %v", spec, err)
			case err != nil:
				var usage *kernel.UsageError
				if strings.Contains(err.Error(), "sekret") || !errors.As(err, &usage) {
					t.Errorf("%s: %v", spec, err)
				}
			case s[0].String() != tc.want:
				t.Errorf("%s: %s, want %s", spec, s[0], tc.want)
			}
		}
	}
}

// Packages that are named one by one, as a shell expands *.deb, make kernels together.
func TestPackagesOfOneCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a.deb"), filepath.Join(dir, "b.rpm"), filepath.Join(dir, "c.pkg.tar.zst")
	for _, file := range []string{a, b, c} {
		imagetest.WriteFile(t, file, nil)
	}
	list, err := ParseAll([]string{a, dir, b, c}, kerneltest.NewCache(t))
	if err != nil || len(list) != 2 || list[0].String() != dir || list[1].String() != strings.Join([]string{a, b, c}, ",") {
		t.Errorf("%v, %v", list, err)
	}
	var usage *kernel.UsageError
	none, err := ParseAll([]string{a, filepath.Join(dir, "none.deb")}, kerneltest.NewCache(t))
	if err != nil || len(none) != 1 {
		t.Fatalf("%v, %v", none, err)
	}
	if _, err := none[0].List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), dir+`/none.deb" is not there`) {
		t.Errorf("error %v", err)
	}
}
