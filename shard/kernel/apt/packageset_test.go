package apt

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func rootPackages() []pkg {
	return []pkg{
		{name: "base", version: "1", control: "Essential: yes\n", depends: "lib (>= 1), usrmerge | usr-is-merged", files: map[string][]byte{"bin/base": []byte("base")}},
		{name: "lib", version: "1:1+b1", files: map[string][]byte{"lib/lib.so": []byte("lib")}},
		{name: "usrmerge", version: "1"},
		{name: "usr-is-merged", version: "1"},
		{name: "tool++", version: "2", depends: "lib", files: map[string][]byte{"usr/bin/tool": []byte("tool"), "DEBIAN/postinst": []byte("#!/bin/sh\nfalse\n")}},
		{name: "other", version: "1"},
	}
}

// unpacked returns a line for each file, and for each script, of a set.
func unpacked(t *testing.T, p *PackageSet) (lines []string, err error) {
	t.Helper()
	err = p.Unpack(t.Context(), t.TempDir(), func(postinst string, r io.Reader) error {
		if postinst != "" {
			lines = append(lines, fmt.Sprintf("postinst %q", postinst))
		}
		for files := tar.NewReader(r); ; {
			hdr, err := files.Next()
			if errors.Is(err, io.EOF) {
				_, err := io.Copy(io.Discard, r)
				return err
			}
			if err != nil {
				return err
			}
			if hdr.Typeflag == tar.TypeReg {
				lines = append(lines, hdr.Name)
			}
		}
	})
	return lines, err
}

func TestFindPackages(t *testing.T) {
	r := newRepo(t, "bookworm", rootPackages()...)
	c := kerneltest.NewCache(t)
	find := func(packages string) (*PackageSet, error) {
		rest := "bookworm" + packages + ",url=" + r.URL + ",key=" + r.keyring
		return FindPackages(t.Context(), "debian:"+rest, rest, "amd64", c)
	}
	base, err := find("")
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpacked(t, base)
	if diff := cmp.Diff([]string{"./lib/lib.so", "./bin/base"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	more, err := find("+tool++")
	if err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(base.Key(), more.Key()) {
		t.Error("a further package does not change the key")
	}
	got, err = unpacked(t, more)
	if diff := cmp.Diff([]string{"./lib/lib.so", "./bin/base", `postinst "#!/bin/sh\nfalse\n"`, "./usr/bin/tool"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	var usage *kernel.UsageError
	if _, err := find("+tool+++nothing"); !errors.As(err, &usage) || !strings.Contains(err.Error(), "Unable to locate package nothing") {
		t.Error(err)
	}
	// A mirror that puts something else in a package's place.
	other := buildDeb(t, pkg{name: "lib", version: "2"})
	imagetest.WriteFile(t, filepath.Join(r.dir, buildDeb(t, rootPackages()[1]).file), other.data)
	if _, err := unpacked(t, base); err == nil {
		t.Error("a package that is not what the list says was unpacked")
	}
	r.Close()
	again, err := find("")
	if err != nil || !cmp.Equal(again.Key(), base.Key()) {
		t.Errorf("what apt found is not remembered: %v", err)
	}
}

// TestUnpackManyPackages has more words than a command line can hold.
func TestUnpackManyPackages(t *testing.T) {
	r := newRepo(t, "bookworm", rootPackages()...)
	rest := "bookworm,url=" + r.URL + ",key=" + r.keyring
	p, err := FindPackages(t.Context(), "debian:"+rest, rest, "amd64", kerneltest.NewCache(t))
	if err != nil {
		t.Fatal(err)
	}
	made := buildDeb(t, rootPackages()[1])
	p.refs = nil
	for i := range 900 {
		d := deb{Archive: archiveMain, File: fmt.Sprintf("pool/main/%d.deb", i), SHA256: kerneltest.Sum(made.data), Size: int64(len(made.data))}
		imagetest.WriteFile(t, filepath.Join(r.dir, d.File), made.data)
		locator, err := json.Marshal([]deb{d})
		if err != nil {
			t.Fatal(err)
		}
		p.refs = append(p.refs, kernel.Ref{Digest: debsDigest([]deb{d}), Locator: string(locator)})
	}
	dir := filepath.Join(t.TempDir(), strings.Repeat(strings.Repeat("x", 200)+"/", 14))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("all are there")
	if err := p.Unpack(t.Context(), dir, func(string, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestAptMissing(t *testing.T) {
	err := aptMissing(&exec.Error{Name: "apt-config", Err: exec.ErrNotFound}, "read the host's apt configuration")
	for _, want := range []string{"apt is not installed", "directory of kernels", "--rootfs"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestFindPackagesChecksTheSignature(t *testing.T) {
	r := newRepo(t, "bookworm", rootPackages()...)
	rest := "bookworm,url=" + r.URL + ",key=keys/debian.asc"
	if _, err := FindPackages(t.Context(), "debian:"+rest, rest, "amd64", kerneltest.NewCache(t)); !errors.Is(err, kernel.ErrSignature) {
		t.Error(err)
	}
}

func TestParsePackageSet(t *testing.T) {
	c := kerneltest.NewCache(t)
	for rest, want := range map[string]string{
		"bookworm":                             "[]",
		"trixie+bash":                          "[bash]",
		"sid+g+++libstdc++6+iproute2":          "[g++ libstdc++6 iproute2]",
		"bookworm+python3.11":                  "[python3.11]",
		"bookwrm":                              `did you mean "bookworm"`,
		"bookworm-backports":                   "unknown Debian suite",
		"bookworm+":                            "no list of packages",
		"bookworm+bash-":                       "no list of packages",
		"bookworm+-o":                          "no list of packages",
		"bookworm+bash+":                       "no list of packages",
		"bookworm+bash=1":                      "no list of packages",
		"bookworm+bash/sid":                    "no list of packages",
		"bookworm+?essential":                  "no list of packages",
		"bookworm+bash dash":                   "no list of packages",
		"bookworm,flavour=amd64":               "no meaning here",
		"bookworm+bash,url=ssh://x":            "no mirror that apt can read",
		"bookworm+" + strings.Repeat("a", 300): "no list of packages",
	} {
		_, names, err := parsePackageSet("debian:"+rest, rest, "amd64", c)
		got := fmt.Sprint(names)
		if err != nil {
			got = err.Error()
			if usage := (*kernel.UsageError)(nil); !errors.As(err, &usage) {
				t.Errorf("%q: %v is no usage error", rest, err)
			}
		}
		if !strings.Contains(got, want) {
			t.Errorf("%q: %s, want %s", rest, got, want)
		}
	}
}

func FuzzParsePackageSet(f *testing.F) {
	for _, s := range []string{"bookworm", "trixie+bash", "sid+g+++libstdc++6", "bookworm+bash-", "bookworm+a,url=http://x,key=y"} {
		f.Add(s)
	}
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := kernel.NewCache(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		_, names, err := parsePackageSet("debian:"+rest, rest, "amd64", c)
		if err != nil {
			return
		}
		for _, n := range names { // what apt would take for something else
			if !packageRE.MatchString(n) && len(n) > 1 || strings.HasSuffix(n, "-") || strings.HasPrefix(n, "-") {
				t.Errorf("%q gives the package %q", rest, n)
			}
		}
	})
}

func FuzzPackageURI(f *testing.F) {
	f.Add("'http://m/d/pool/a_1_all.deb' a_1_all.deb 12 SHA256:" + strings.Repeat("0", 64) + "\n")
	f.Add("'http://m/d/../x' x 12 SHA256:" + strings.Repeat("0", 64) + "\n")
	r := &privateRoot{archive: mirrors{main: "http://m/d", security: "http://m/s"}}
	f.Fuzz(func(t *testing.T, out string) {
		for _, m := range uriRE.FindAllStringSubmatch(out, maxPackages) {
			d, err := r.debOf(m)
			if err != nil {
				continue
			}
			if !validFilename(d.File) || d.Size <= 0 || len(d.SHA256) != 64 {
				t.Errorf("%q gives %+v", out, d)
			}
		}
	})
}
