package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

func TestRPMListsOpensAndDownloadsOnce(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.build(t, "repo", coreRPMs(t, "kernel", "6.11.4", "301.fc41")...)
	r.build(t, "repo", coreRPMs(t, "kernel-debug", "6.11.4", "301.fc41")...)
	old := coreRPMs(t, "kernel", "5.11.12", "300.fc34")
	r.build(t, "repo", old[0], old[1], old[3]) // there was no kernel-modules-core
	r.build(t, "repo", rpmPkg{name: "bash", version: "5", release: "1"}, rpmPkg{name: "kernel-headers", version: "6.11.4", release: "301.fc41", files: map[string][]byte{"usr/include/x.h": make([]byte, minInstalled)}})
	r.createrepo(t, "repo")
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	var fetched atomic.Int64
	c.Progress = func(_ kernel.Ref, done, total int64) {
		if done == total {
			fetched.Add(1)
		}
	}
	spec := "rpm:" + r.URL + "/repo"
	s := sourceOf(t, spec, c)
	refs := kerneltest.List(t, s)
	if d := cmp.Diff([]string{"rpm/5.11.12-300.fc34.x86_64", "rpm/6.11.4-301.fc41.x86_64"}, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	if w := warnings(); len(w) != 1 || !strings.Contains(w[0], "signatures are not checked") || !strings.Contains(w[0], ",key=FILE") {
		t.Errorf("warnings %q, want one that says that signatures are not checked", w)
	}
	r.requests()
	for _, ref := range refs {
		im, err := s.Open(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if im.Arch != "amd64" || im.Release != ref.Release || ref.Size == 0 {
			t.Errorf("%+v", im.Ref)
		}
		if b, _ := os.ReadFile(im.Config); string(b) != "CONFIG_"+ref.Release {
			t.Errorf("config %q", b)
		}
		got := kerneltest.Modules(t, im)
		if got["kernel/drivers/net/veth.ko.xz"] != "veth of "+ref.Release || got["modules.builtin"] == "" {
			t.Errorf("modules %q", got)
		}
		if err := im.Vmlinux(context.Background(), filepath.Join(t.TempDir(), "vmlinux")); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"kernel-core-5.11.12-300.fc34.x86_64.rpm", "kernel-core-6.11.4-301.fc41.x86_64.rpm", "kernel-modules-5.11.12-300.fc34.x86_64.rpm",
		"kernel-modules-6.11.4-301.fc41.x86_64.rpm", "kernel-modules-core-6.11.4-301.fc41.x86_64.rpm",
	}
	if d := cmp.Diff(want, rpmRequests(r.requests())); d != "" {
		t.Errorf("packages fetched (-want +got):\n%s", d)
	}
	if fetched.Load() != 2 {
		t.Errorf("progress was completed %d times, want 2", fetched.Load())
	}
	// A second run, by a new process so to speak, asks for nothing.
	again := sourceOf(t, spec, c)
	for _, ref := range kerneltest.List(t, again) {
		if _, err := again.Open(context.Background(), ref); err != nil {
			t.Error(err)
		}
	}
	if hits := r.requests(); len(hits) != 0 {
		t.Errorf("the second run asked for %q", hits)
	}
	// A job that was handed a Ref fetches that kernel and no metadata.
	if _, err := sourceOf(t, spec, kerneltest.NewCache(t)).Open(context.Background(), refs[0]); err != nil {
		t.Fatal(err)
	}
	if hits := r.requests(); len(hits) != 2 || len(rpmRequests(hits)) != 2 {
		t.Errorf("asked for %q, want two packages", hits)
	}
	// The same repository as a directory.
	dir := sourceOf(t, "rpm:"+filepath.Join(r.dir, "repo"), kerneltest.NewCache(t))
	local := kerneltest.List(t, dir)
	if d := cmp.Diff(kerneltest.IDs(refs), kerneltest.IDs(local)); d != "" {
		t.Errorf("ids of the directory (-want +got):\n%s", d)
	}
	if _, err := dir.Open(context.Background(), local[1]); err != nil {
		t.Error(err)
	}
	if debug := kerneltest.List(t, sourceOf(t, spec+",flavour=debug", kerneltest.NewCache(t))); len(debug) != 1 || debug[0].ID() != "rpm/6.11.4-301.fc41.x86_64+debug" {
		t.Errorf("debug kernels %q", kerneltest.IDs(debug))
	}
	var usage *kernel.UsageError
	if _, err := sourceOf(t, spec+",flavour=rt", kerneltest.NewCache(t)).List(context.Background()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "no kernel of flavour rt") || !strings.Contains(err.Error(), "it has debug, kernel") {
		t.Errorf("error %v, want a UsageError that names the flavours there are", err)
	}
}

func TestRPMSpecsThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	imagetest.WriteFile(t, filepath.Join(dir, "kernel-core-6.1.x86_64.rpm"), nil)
	junk := imagetest.WriteFile(t, filepath.Join(dir, "junk"), []byte("no key"))
	for spec, want := range map[string]string{
		"rpm:" + dir:                         `give the directory without "rpm:"`,
		"rpm:" + t.TempDir():                 "expected a repository of RPM",
		"rpm:" + dir + ",key=" + junk:        "holds none that can be used: it is something else",
		"rpm:" + dir + ",key=" + dir + "/no": "no such file",
	} {
		var usage *kernel.UsageError
		if _, err := sourceOf(t, spec, kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want a UsageError with %q", spec, err, want)
		}
	}
}

// Every kind of compression that repositories and packages have had.
func TestRPMCompressions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ payload, repo string }{
		{"w9.gzdio", "gz"}, {"w6.xzdio", "xz"}, {"w3.zstdio", "zstd"}, {"w9.bzdio", "bz2"}, {"w6.lzdio", "gz"}, {"w.ufdio", "gz"},
	} {
		r := newRPMTree(t)
		p := oneRPM(t, "kernel", "5.10.102", "99.473.amzn2")
		p.payload = tc.payload
		r.build(t, "repo", p)
		if tc.repo == "zstd" { // newer versions of createrepo_c can
			r.createrepo(t, "repo")
			r.editPrimary(t, "repo", image.Zstd, func(b []byte) []byte { return b })
		} else {
			r.createrepo(t, "repo", "--general-compress-type="+tc.repo)
		}
		s := sourceOf(t, "rpm:"+r.URL+"/repo", kerneltest.NewCache(t))
		refs := kerneltest.List(t, s)
		im, err := s.Open(context.Background(), refs[0])
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		if got := kerneltest.Modules(t, im)["kernel/fs/overlayfs/overlay.ko"]; got != "overlay of 5.10.102-99.473.amzn2.x86_64" {
			t.Errorf("%+v: module %q", tc, got)
		}
		primary, _ := filepath.Glob(filepath.Join(r.dir, "repo/repodata/*-primary.xml.*"))
		t.Log(tc.payload, filepath.Base(primary[0]))
	}
}

// Each distribution's repositories, in a tree laid out as its mirrors are.
func TestRPMDistributions(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	repos := map[string][]rpmPkg{}
	put := func(repo string, pkgs ...rpmPkg) { repos[repo] = pkgs }
	mirrorList := func(path string, lines ...string) {
		imagetest.WriteFile(t, filepath.Join(r.dir, path), []byte(strings.Join(lines, "\n")+"\n"))
	}
	fc := coreRPMs(t, "kernel", "6.11.4", "301.fc41")
	put("fedora/releases/41/Everything/x86_64/os", fc...)
	put("fedora/updates/41/Everything/x86_64", append(coreRPMs(t, "kernel", "6.13.5", "200.fc41"), fc[1])...)
	put("fedora/development/rawhide/Everything/x86_64/os", coreRPMs(t, "kernel", "7.2.0", "0.rc1.fc45")...)
	put("stream/9-stream/BaseOS/x86_64/os", coreRPMs(t, "kernel", "5.14.0", "570.el9")...)
	put("stream/9-stream/RT/x86_64/os", coreRPMs(t, "kernel-rt", "5.14.0", "570.el9")...)
	put("rocky/9/BaseOS/x86_64/os", coreRPMs(t, "kernel", "5.14.0", "503.el9_5")...)
	put("rocky/9.0/BaseOS/x86_64/os", coreRPMs(t, "kernel", "5.14.0", "70.el9")...)
	put("rocky/9.1/BaseOS/x86_64/os", coreRPMs(t, "kernel", "5.14.0", "162.el9_1")...)
	put("rocky/9.3/BaseOS/x86_64/os", coreRPMs(t, "kernel", "5.14.0", "362.el9_3")...) // behind a gap
	put("alma/8/BaseOS/x86_64/os", coreRPMs(t, "kernel", "4.18.0", "553.el8_10")...)
	put("alma/8.3/BaseOS/x86_64/os", coreRPMs(t, "kernel", "4.18.0", "240.el8")...)
	put("amazon/blob/core2", oneRPM(t, "kernel", "4.14.355", "276.amzn2"))
	put("amazon/blob/k510", oneRPM(t, "kernel", "5.10.102", "99.473.amzn2"))
	mirrorList("amazon/2/core/latest/x86_64/mirror.list", r.URL+"/amazon/blob/gone", r.URL+"/amazon/blob/core2/")
	mirrorList("amazon/2/extras/kernel-5.10/latest/x86_64/mirror.list", r.URL+"/amazon/blob/k510")
	put("amazon/blob/2023", oneRPM(t, "kernel", "6.1.112", "122.189.amzn2023"), oneRPM(t, "kernel6.12", "6.12.20", "23.97.amzn2023"))
	mirrorList("amazon/al2023/core/mirrors/latest/x86_64/mirror.list", r.URL+"/amazon/blob/2023/$basearch/..", r.URL+"/amazon/blob/2023")
	mirrorList("amazon/al2023/core/mirrors/2023.6.20241010/x86_64/mirror.list", r.URL+"/amazon/blob/2023")
	put("oracle/OL9/baseos/latest/x86_64", coreRPMs(t, "kernel", "5.14.0", "503.0.1.el9_5")...)
	uek := coreRPMs(t, "kernel-uek", "5.15.0", "304.171.el9uek")
	uek[1].provides = "" // of which the release follows
	put("oracle/OL9/UEKR7/x86_64", uek[0], uek[1], uek[3])
	put("oracle/OL8/baseos/latest/x86_64", coreRPMs(t, "kernel", "4.18.0", "553.el8_10")...)
	put("oracle/OL8/UEKR6/x86_64", oneRPM(t, "kernel-uek", "5.4.17", "2136.el8uek"))
	put("opensuse/distribution/leap/15.6/repo/oss", append(suseRPMs(t, "default", "6.4.0", "150600.21"), rpmPkg{name: "kernel-firmware", version: "1", release: "1"})...)
	put("opensuse/update/leap/15.6/sle", append(suseRPMs(t, "default", "6.4.0", "150600.23.47"), suseRPMs(t, "azure", "6.4.0", "150600.8.5")...)...)
	put("opensuse/distribution/leap/16.0/repo/oss/x86_64", suseRPMs(t, "default", "6.12.0", "160000.5")...)
	put("opensuse/tumbleweed/repo/oss", append(suseRPMs(t, "default", "6.17.8", "1"), suseRPMs(t, "longterm", "6.12.58", "1")...)...)
	put("rmt/SUSE/Products/SLE-Module-Basesystem/15-SP6/x86_64/product", suseRPMs(t, "default", "6.4.0", "150600.21")...)
	put("rmt/SUSE/Updates/SLE-Module-RT/15-SP6/x86_64/update", suseRPMs(t, "rt", "6.4.0", "150600.10")...)
	photon := oneRPM(t, "linux", "6.1.83", "2.ph5")
	photon.provides = ""
	esx := photon
	esx.name, esx.files = "linux-esx", map[string][]byte{"boot/vmlinuz-6.1.83-2.ph5-esx": append(imagetest.Vmlinuz(t, "6.1.83-2.ph5-esx"), make([]byte, minInstalled)...), "boot/config-x": []byte("CONFIG_"), "lib/modules/6.1.83-2.ph5-esx/kernel/a.ko": []byte("a")}
	put("photon", photon, esx)
	azure := oneRPM(t, "kernel", "6.6.57.1", "6.azl3")
	azure.provides = ""
	put("azurelinux", azure)
	var all []rpmPkg
	for _, pkgs := range repos {
		all = append(all, pkgs...)
	}
	buildPackages(t, all)
	for repo, pkgs := range repos {
		r.build(t, repo, pkgs...)
		r.createrepo(t, repo)
	}

	for _, tc := range []struct {
		spec string
		want []string
	}{
		{"fedora:41,url=/fedora", []string{"fedora/6.11.4-301.fc41.x86_64", "fedora/6.13.5-200.fc41.x86_64"}},
		{"fedora:rawhide,url=/fedora", []string{"fedora/7.2.0-0.rc1.fc45.x86_64"}},
		{"centos-stream:9,url=/stream", []string{"centos-stream/5.14.0-570.el9.x86_64"}},
		{"centos-stream:9:rt,url=/stream", []string{"centos-stream/5.14.0-570.el9.x86_64+rt"}},
		{"rocky:9,url=/rocky", []string{"rocky/5.14.0-162.el9_1.x86_64", "rocky/5.14.0-503.el9_5.x86_64", "rocky/5.14.0-70.el9.x86_64"}},
		{"rocky:9.3,url=/rocky", []string{"rocky/5.14.0-362.el9_3.x86_64"}},
		{"almalinux:8,url=/alma", []string{"almalinux/4.18.0-240.el8.x86_64", "almalinux/4.18.0-553.el8_10.x86_64"}},
		{"amazonlinux:2,url=/amazon", []string{"amazonlinux2/4.14.355-276.amzn2.x86_64", "amazonlinux2/5.10.102-99.473.amzn2.x86_64"}},
		{"amazonlinux:2023,url=/amazon", []string{"amazonlinux2023/6.1.112-122.189.amzn2023.x86_64", "amazonlinux2023/6.12.20-23.97.amzn2023.x86_64"}},
		{"amazonlinux:2023:kernel6.12,url=/amazon", []string{"amazonlinux2023/6.12.20-23.97.amzn2023.x86_64"}},
		{"amazonlinux:2023.6.20241010:kernel,url=/amazon", []string{"amazonlinux2023/6.1.112-122.189.amzn2023.x86_64"}},
		{"oraclelinux:9,url=/oracle", []string{"oraclelinux/5.14.0-503.0.1.el9_5.x86_64", "oraclelinux/5.15.0-304.171.el9uek.x86_64"}},
		{"oraclelinux:9:uek,url=/oracle", []string{"oraclelinux/5.15.0-304.171.el9uek.x86_64"}},
		{"oraclelinux:8:uek,url=/oracle", []string{"oraclelinux/5.4.17-2136.el8uek.x86_64"}},
		{"opensuse:leap-15.6,url=/opensuse", []string{"opensuse/6.4.0-150600.21-default", "opensuse/6.4.0-150600.23.47-default"}},
		{"opensuse:leap-15.6:azure,url=/opensuse", []string{"opensuse/6.4.0-150600.8.5-azure"}},
		{"opensuse:leap-16.0,url=/opensuse", []string{"opensuse/6.12.0-160000.5-default"}},
		{"opensuse:tumbleweed,url=/opensuse", []string{"opensuse/6.17.8-1-default"}},
		{"opensuse:tumbleweed:longterm,url=/opensuse", []string{"opensuse/6.12.58-1-longterm"}},
		{"suse:15-SP6,url=/rmt", []string{"suse/6.4.0-150600.21-default"}},
		{"suse:15-SP6:rt,url=/rmt", []string{"suse/6.4.0-150600.10-rt"}},
		{"rpm:/photon", []string{"rpm/6.1.83-2.ph5"}},
		{"rpm:/photon,flavour=esx", []string{"rpm/6.1.83-2.ph5-esx"}},
		{"rpm:/azurelinux", []string{"rpm/6.6.57.1-6.azl3"}},
	} {
		t.Run(tc.spec, func(t *testing.T) {
			spec := strings.Replace(tc.spec, "url=", "url="+r.URL, 1)
			s := sourceOf(t, strings.Replace(spec, "rpm:", "rpm:"+r.URL, 1), kerneltest.NewCache(t))
			refs := kerneltest.List(t, s)
			if d := cmp.Diff(tc.want, kerneltest.IDs(refs)); d != "" {
				t.Fatalf("ids (-want +got):\n%s", d)
			}
			ref := refs[len(refs)-1]
			if version := strings.SplitN(ref.Release, "-", 2)[0]; ref.Flavour == "" || !ref.Modules || ref.Date != time.Now().UTC().Format(time.DateOnly) || !strings.HasPrefix(ref.Package, "source "+version) {
				t.Errorf("the listing tells too little: %+v", ref)
			}
			// A new process, with nothing but the Ref.
			other := sourceOf(t, s.spec, kerneltest.NewCache(t))
			im, err := other.Open(context.Background(), refs[len(refs)-1])
			if err != nil {
				t.Fatal(err)
			}
			if !im.HasModules() || im.Config == "" {
				t.Errorf("%+v has modules: %v", im, im.HasModules())
			}
		})
	}
}

func TestRPMWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	var usage *kernel.UsageError
	for _, spec := range []string{"fedora:41,url=" + r.URL, "rocky:9,url=" + r.URL, "amazonlinux:2,url=" + r.URL, "rpm:" + r.URL + "/none", "rpm:" + r.dir, "rpm:" + r.dir + "/none"} {
		_, err := sourceOf(t, spec, kerneltest.NewCache(t)).List(context.Background())
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), spec) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line, a UsageError that names the source", spec, err)
		}
	}
	// A server that fails is not one that lacks the kernels.
	var tries atomic.Int64
	r.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tries.Add(1); w.WriteHeader(http.StatusBadGateway) }))
	_, err := sourceOf(t, "rocky:9,url="+r.URL, kerneltest.NewCache(t)).List(context.Background())
	if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), "502") {
		t.Errorf("error %v, want one that is no UsageError", err)
	}
	if want := int64(fetch.New().Retry.Attempts); tries.Load() != want {
		t.Errorf("%d attempts, want %d", tries.Load(), want)
	}
	// Nor is what one mirror lacks known to be gone while another does not answer.
	r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case strings.HasSuffix(req.URL.Path, "/mirror.list"):
			_, _ = io.WriteString(w, r.URL+"/lacks\n"+r.URL+"/fails\n")
		case strings.HasPrefix(req.URL.Path, "/lacks"):
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	_, err = sourceOf(t, "amazonlinux:2,url="+r.URL, kerneltest.NewCache(t)).List(context.Background())
	if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), "502") {
		t.Errorf("error %v, want one that is no UsageError", err)
	}
}

func TestRPMRefusesBadRepositories(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.build(t, "repo", oneRPM(t, "kernel", "5.10.102", "99.473.amzn2"))
	r.createrepo(t, "repo")
	restore := r.snapshot(t, "repo")
	repomd := filepath.Join(r.dir, "repo/repodata/repomd.xml")
	primary := func() string {
		found, _ := filepath.Glob(filepath.Join(r.dir, "repo/repodata/*-primary.xml.gz"))
		return found[0]
	}
	edit := func(file string, fn func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		imagetest.WriteFile(t, file, fn(b))
	}
	replaced := func(xml string) {
		r.editPrimary(t, "repo", image.Gzip, func([]byte) []byte { return []byte(xml) })
	}
	for _, tc := range []struct {
		name string
		do   func()
		want string
	}{
		{"changed list", func() { edit(primary(), func(b []byte) []byte { b[len(b)-1] ^= 1; return b }) }, "not sha256:"},
		{"longer list", func() { edit(primary(), func(b []byte) []byte { return append(b, 0) }) }, "exceeds the limit"},
		{"shorter list", func() { edit(primary(), func(b []byte) []byte { return b[:len(b)-9] }) }, "ends after"},
		{"no list", func() { os.Remove(primary()) }, "that repomd.xml names is missing"},
		{"truncated repomd", func() { edit(repomd, func(b []byte) []byte { return b[:len(b)/2] }) }, "read repomd.xml"},
		{"not repomd", func() { edit(repomd, func([]byte) []byte { return []byte("<html>login</html>") }) }, "read repomd.xml"},
		{"huge repomd", func() { edit(repomd, func([]byte) []byte { return bytes.Repeat([]byte("<a>"), maxRepomd) }) }, "exceeds the limit"},
		{"entities", func() {
			edit(repomd, func([]byte) []byte {
				return []byte(`<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><repomd><data type="&b;"/></repomd>`)
			})
		}, "read repomd.xml"},
		{"weak checksum", func() {
			edit(repomd, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"sha256"`), []byte(`"sha"`)) })
		}, `checksums of type "sha" are not accepted`},
		{"list elsewhere", func() {
			edit(repomd, func(b []byte) []byte {
				return bytes.ReplaceAll(b, []byte(`href="repodata/`), []byte(`href="http://localhost/repodata/`))
			})
		}, "not relative"},
		{"list truncated before it was pinned", func() {
			replaced(`<?xml version="1.0"?><metadata packages="1"><package type="rpm"><name>kernel</name>`)
		}, "it ends early"},
		{"list that is no XML", func() { replaced(strings.Repeat("x", 1<<20)) }, "not repository metadata"},
		{"list of endless tags", func() { replaced(`<metadata><package >` + strings.Repeat(" ", maxPackageXML+1)) }, "exceeds the limit"},
		{"list with entities", func() {
			replaced(`<!DOCTYPE m [<!ENTITY a "kernel">]><metadata><package type="rpm"><name>kernel&a;</name></package></metadata>`)
		}, "not well formed"},
		{"empty list", func() { replaced(`<metadata packages="0"></metadata>`) }, "no kernel of flavour"},
	} {
		restore()
		tc.do()
		_, err := sourceOf(t, "rpm:"+r.URL+"/repo", kerneltest.NewCache(t)).List(context.Background())
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q", tc.name, err, tc.want)
		}
	}
}

// What is wrong with one package is known when it is opened, and of that kernel
// alone.
func TestRPMRefusesBadPackages(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.build(t, "repo", oneRPM(t, "kernel", "5.10.1", "1.amzn2"), oneRPM(t, "kernel", "5.10.2", "2.amzn2"))
	file := filepath.Join(r.dir, "repo/kernel-5.10.1-1.amzn2.x86_64.rpm")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(r.dir, "repo/kernel-5.10.2-2.amzn2.x86_64.rpm"))
	if err != nil {
		t.Fatal(err)
	}
	r.createrepo(t, "repo")
	restore := r.snapshot(t, "repo")
	for _, tc := range []struct {
		name  string
		after func() // createrepo_c has seen the good package
		want  string
	}{
		{"changed", func() { b := bytes.Clone(good); b[len(b)-1] ^= 1; imagetest.WriteFile(t, file, b) }, "not sha256:"},
		{"gone", func() { os.Remove(file) }, "list the kernels again"},
		{"cut short", func() { imagetest.WriteFile(t, file, good[:len(good)-1]) }, "ends after"},
		{"another package", func() { imagetest.WriteFile(t, file, other); r.relist(t, file, good, other) }, "is listed as"},
		{"no package", func() { b := []byte("<html>login</html>"); imagetest.WriteFile(t, file, b); r.relist(t, file, good, b) }, "read RPM"},
		{"cut short before it was listed", func() {
			br := bytes.NewReader(good)
			if _, _, err := unpack.ReadRPM(br); err != nil {
				t.Fatal(err)
			}
			b := good[:len(good)-br.Len()/2]
			imagetest.WriteFile(t, file, b)
			r.relist(t, file, good, b)
		}, "unpack"},
	} {
		restore()
		c := kerneltest.NewCache(t)
		if tc.name == "changed" || tc.name == "gone" || tc.name == "cut short" {
			s := sourceOf(t, "rpm:"+r.URL+"/repo", c)
			kerneltest.List(t, s)
		}
		tc.after()
		s := sourceOf(t, "rpm:"+r.URL+"/repo", c)
		refs := kerneltest.List(t, s)
		if len(refs) != 2 {
			t.Fatalf("%s: ids %q", tc.name, kerneltest.IDs(refs))
		}
		_, err := s.Open(context.Background(), refs[0])
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), refs[0].ID()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one line with %q and the kernel's id", tc.name, err, tc.want)
		}
		if left, _ := os.ReadDir(filepath.Join(c.Dir(), "kernels-2")); len(left) != 0 {
			t.Errorf("%s: the cache holds %v", tc.name, left)
		}
		if _, err := s.Open(context.Background(), refs[1]); err != nil {
			t.Errorf("%s: the other kernel: %v", tc.name, err)
		}
	}
	// Nor does another locator under the same digest help.
	restore()
	s := sourceOf(t, "rpm:"+r.URL+"/repo", kerneltest.NewCache(t))
	refs := kerneltest.List(t, s)
	forged := refs[1]
	forged.Digest = refs[0].Digest
	var digest *kernel.DigestError
	if _, err := s.Open(context.Background(), forged); !errors.As(err, &digest) {
		t.Errorf("error %v, want a DigestError", err)
	}
}

// relist makes the list of packages name a file's new content under its old
// name, as a broken or hostile mirror would.
func (r *rpmTree) relist(t testing.TB, file string, before, after []byte) {
	t.Helper()
	repo, err := filepath.Rel(r.dir, filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	r.editPrimary(t, repo, image.Gzip, func(xml []byte) []byte {
		xml = bytes.Replace(xml, []byte(kerneltest.Sum(before)), []byte(kerneltest.Sum(after)), 1)
		return bytes.Replace(xml, []byte(`size package="`+itoa(int64(len(before)))), []byte(`size package="`+itoa(int64(len(after)))), 1)
	})
}

// editPrimary changes the list of packages, and pins it anew.
func (r *rpmTree) editPrimary(t testing.TB, repo string, c image.Compression, fn func([]byte) []byte) {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(r.dir, repo, "repodata/*-primary.xml.gz"))
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	zr, err := image.Decompress(image.Gzip, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	xml, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	data := imagetest.Compressed(t, c, fn(xml))
	imagetest.WriteFile(t, found[0], data)
	repomd := filepath.Join(r.dir, repo, "repodata/repomd.xml")
	m, err := os.ReadFile(repomd)
	if err != nil {
		t.Fatal(err)
	}
	m = bytes.Replace(m, []byte(">"+kerneltest.Sum(b)+"<"), []byte(">"+kerneltest.Sum(data)+"<"), 1)
	imagetest.WriteFile(t, repomd, bytes.Replace(m, []byte("<size>"+itoa(int64(len(b)))+"<"), []byte("<size>"+itoa(int64(len(data)))+"<"), 1))
}

func TestRPMSignatures(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	gnupg, key := kerneltest.Key(t)
	armoured := filepath.Join(t.TempDir(), "key.asc")
	kerneltest.Command(t, "gpg", "--homedir", gnupg, "--batch", "--armor", "--output", armoured, "--export")
	otherHome, otherKey := kerneltest.NewKey(t, "ed25519")
	pkgs := []rpmPkg{oneRPM(t, "kernel", "5.10.1", "1.amzn2"), oneRPM(t, "kernel", "5.10.2", "2.amzn2")}
	r.build(t, "signed", pkgs...)
	r.sign(t, gnupg, "signed")
	rsaHome, rsaKey := kerneltest.NewKey(t, "rsa2048") // another tag of the package
	r.build(t, "rsa", pkgs...)
	r.sign(t, rsaHome, "rsa")
	r.build(t, "plain", pkgs...)
	r.createrepo(t, "plain")
	r.build(t, "repomd", pkgs...)
	r.createrepo(t, "repomd")
	r.signRepomd(t, gnupg, "repomd")
	r.build(t, "foreign", pkgs...)
	r.sign(t, otherHome, "foreign")
	r.build(t, "swapped", pkgs...)
	r.sign(t, gnupg, "swapped")
	os.Remove(filepath.Join(r.dir, "swapped/repodata/repomd.xml.asc"))
	file := filepath.Join(r.dir, "swapped/kernel-5.10.1-1.amzn2.x86_64.rpm")
	good, _ := os.ReadFile(file)
	bad := bytes.Clone(good)
	bad[len(bad)-1] ^= 1
	imagetest.WriteFile(t, file, bad)
	r.relist(t, file, good, bad)

	for _, dir := range []string{"packages", "relisted"} {
		r.build(t, dir, pkgs...)
		r.sign(t, gnupg, dir)
		os.Remove(filepath.Join(r.dir, dir, "repodata/repomd.xml.asc"))
	}
	r.signRepomd(t, otherHome, "relisted")
	const unsigned = ",metadata=unsigned"

	open := func(spec string, c *kernel.Cache) error {
		s := sourceOf(t, spec, c)
		refs, err := s.List(context.Background())
		if err != nil {
			return err
		}
		_, err = s.Open(context.Background(), refs[0])
		return err
	}
	for _, tc := range []struct{ name, repo, key, want string }{
		{"good", "signed", key, ""},
		{"armoured key", "signed", armoured, ""},
		{"RSA", "rsa", rsaKey, ""},
		{"RSA by another key", "rsa", key, "signature is not valid"},
		{"another key", "signed", otherKey, "signature is not valid"},
		{"nothing signed", "plain", key + unsigned, "package is not signed"},
		{"only packages signed", "packages", key + unsigned, ""},
		{"list not signed", "packages", key, "repomd.xml: the mirror's signature is not valid: it is not signed"},
		{"list signed by another", "relisted", key + unsigned, "signature is not valid"},
		{"only repomd.xml signed", "repomd", key, "not signed"},
		{"signed by another", "foreign", key, "signature is not valid"},
		{"payload exchanged", "swapped", key + unsigned, "not " /* the digest as signed */},
		{"no key file", "signed", key + ".none", "no such file"},
	} {
		c := kerneltest.NewCache(t)
		warnings := kerneltest.CollectWarnings(c)
		err := open("rpm:"+r.URL+"/"+tc.repo+",key="+tc.key, c)
		switch {
		case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		case tc.want != "" && tc.name != "no key file" && !errors.Is(err, kernel.ErrSignature):
			t.Errorf("%s: error %v, want errSignature", tc.name, err)
		}
		if w := warnings(); len(w) != 0 {
			t.Errorf("%s: warnings %q", tc.name, w)
		}
	}
	// A mirror by plain http can hide the signature of a key that is installed,
	// too.
	installed := sourceOf(t, "rpm:"+r.URL+"/packages", kerneltest.NewCache(t))
	installed.keyPatterns = []string{key}
	if _, err := installed.List(t.Context()); !errors.Is(err, kernel.ErrSignature) || !strings.Contains(err.Error(), unsigned) {
		t.Errorf("error %v, want one about the signature that says what to do", err)
	}
	// What was fetched without a key is checked when there is one.
	unchecked := kerneltest.NewCache(t)
	if err := open("rpm:"+r.URL+"/plain", unchecked); err != nil {
		t.Error(err)
	}
	if err := open("rpm:"+r.URL+"/plain,key="+key+unsigned, unchecked); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("error %v, want errSignature", err)
	}
	// A repomd.xml that was changed after it was signed is refused.
	repomd := filepath.Join(r.dir, "signed/repodata/repomd.xml")
	b, err := os.ReadFile(repomd)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, repomd, append(b, '\n'))
	c := kerneltest.NewCache(t)
	if err := open("rpm:"+r.URL+"/signed,key="+key, c); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("error %v, want errSignature", err)
	}
	// A good list from before does not make up for it.
	imagetest.WriteFile(t, repomd, b)
	s := sourceOf(t, "rpm:"+r.URL+"/signed,key="+key, c)
	kerneltest.List(t, s)
	imagetest.WriteFile(t, repomd, append(b, '\n'))
	s.now = func() time.Time { return time.Now().Add(2 * kernel.ListAge) }
	if _, err := s.List(context.Background()); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("error %v, want errSignature", err)
	}
}

// Amazon Linux 2 and Enterprise Linux 7 sign header and payload in one, and
// their headers hold no digest of the payload. No rpmbuild of today makes such.
func TestRPMSignedAsByOldVersions(t *testing.T) {
	t.Parallel()
	gnupg, key := kerneltest.Key(t)
	keys, err := readKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plain := imagetest.RPMFile(nil, []byte("payload"))
	signed := imagetest.WriteFile(t, filepath.Join(dir, "signed"), plain[96+16:])
	kerneltest.Command(t, "gpg", "--homedir", gnupg, "--batch", "--quiet", "--detach-sign", signed)
	sig, err := os.ReadFile(signed + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	for payload, want := range map[string]bool{"payload": true, "paYload": false, "payload2": false, "": false} {
		file := imagetest.WriteFile(t, filepath.Join(dir, "x.rpm"), imagetest.RPMFile(sig, []byte(payload)))
		if err := keys.verifyPackage(file); (err == nil) != want || err != nil && !errors.Is(err, kernel.ErrSignature) {
			t.Errorf("payload %q: %v", payload, err)
		}
	}
	if err := keys.verifyPackage(imagetest.WriteFile(t, filepath.Join(dir, "y.rpm"), plain)); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("not signed: %v", err)
	}
}

func TestRPMRefreshes(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.build(t, "repo", oneRPM(t, "kernel", "5.10.1", "1.amzn2"))
	r.createrepo(t, "repo")
	c := kerneltest.NewCache(t)
	s := sourceOf(t, "rpm:"+r.URL+"/repo", c)
	now := time.Now()
	s.now = func() time.Time { return now }
	kerneltest.List(t, s)
	r.build(t, "repo", oneRPM(t, "kernel", "5.10.2", "2.amzn2"))
	r.createrepo(t, "repo")
	now = now.Add(kernel.ListAge - time.Minute)
	if refs := kerneltest.List(t, s); len(refs) != 1 {
		t.Errorf("a fresh list was fetched again: %q", kerneltest.IDs(refs))
	}
	now = now.Add(2 * time.Minute)
	if refs := kerneltest.List(t, s); len(refs) != 2 {
		t.Errorf("an old list was used: %q", kerneltest.IDs(refs))
	}
	now = now.Add(2 * kernel.ListAge)
	r.Close()
	warnings := kerneltest.CollectWarnings(c)
	if refs := kerneltest.List(t, s); len(refs) != 2 {
		t.Errorf("ids %q", kerneltest.IDs(refs))
	}
	if w := strings.Join(warnings(), "\n"); !strings.Contains(w, "using the list of") {
		t.Errorf("warnings %q", w)
	}
	if _, err := sourceOf(t, s.spec, kerneltest.NewCache(t)).List(context.Background()); err == nil || !strings.Contains(err.Error(), r.URL) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one line that names the address", err)
	}
}

// A package is gone when no mirror has it, and each says so.
func TestRPMTellsWhatIsGone(t *testing.T) {
	t.Parallel()
	r := newRPMTree(t)
	r.build(t, "repo", oneRPM(t, "kernel", "5.10.1", "1.amzn2"))
	r.createrepo(t, "repo")
	var first, second int // what the mirrors answer for packages; 0: the file
	files := http.FileServer(http.Dir(r.dir))
	r.serve(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		status := first
		path, ok := strings.CutPrefix(req.URL.Path, "/other")
		if ok {
			status = second
		}
		if req.URL.Path = path; status != 0 && strings.HasSuffix(path, ".rpm") {
			w.WriteHeader(status)
			return
		}
		files.ServeHTTP(w, req)
	}))
	for _, tc := range []struct {
		first, second int
		want          bool
	}{{0, 0, false}, {404, 404, true}, {410, 404, true}, {404, 0, false}, {404, 503, false}, {403, 404, false}, {404, 403, false}, {404, 429, false}, {500, 404, false}} {
		first, second = tc.first, tc.second
		s := sourceOf(t, "rpm:"+r.URL+"/repo", kerneltest.NewCache(t))
		s.bases = append(s.bases, r.URL+"/other/repo")
		refs := kerneltest.List(t, s)
		if got := s.Gone(t.Context(), refs, true)[refs[0].Digest]; got != tc.want {
			t.Errorf("%d and %d: gone is %v", tc.first, tc.second, got)
		}
		r.requests()
		definite := tc.want || tc.first == 0 || tc.second == 0
		if s.Gone(t.Context(), refs, true); (len(r.requests()) == 0) != definite {
			t.Errorf("%d and %d: remembered is not %v", tc.first, tc.second, definite)
		}
	}
}
