package apt

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// ubuntuPackages are kernels as Ubuntu splits them.
func ubuntuPackages(t testing.TB) []pkg {
	split := func(uname, version string, signed, extra bool) []pkg {
		image := pkg{name: "linux-image-unsigned-" + uname, version: version, depends: "kmod, linux-base, linux-modules-" + uname, files: map[string][]byte{
			"boot/vmlinuz-" + uname: imagetest.Vmlinuz(t, uname),
		}}
		all := []pkg{image, {name: "linux-modules-" + uname, version: version, files: map[string][]byte{
			"boot/config-" + uname:                                     []byte("CONFIG_" + uname),
			"boot/System.map-" + uname:                                 []byte("map"),
			"lib/modules/" + uname + "/kernel/fs/overlayfs/overlay.ko": []byte("overlay of " + uname),
		}}, {name: "linux-image-" + uname + "-dbgsym", version: version}, {name: "linux-headers-" + uname, version: version}}
		if signed {
			image.name = "linux-image-" + uname
			all = append(all, image)
		}
		if extra {
			all = append(all, pkg{name: "linux-modules-extra-" + uname, version: version, files: map[string][]byte{
				"lib/modules/" + uname + "/kernel/net/sctp/sctp.ko": []byte("sctp of " + uname),
			}})
		}
		return all
	}
	all := split("6.8.0-45-generic", "6.8.0-45.45", true, true)
	all = append(all, split("6.8.0-31-generic", "6.8.0-31.31", true, true)...)
	all = append(all, split("6.8.0-1015-aws", "6.8.0-1015.16", true, false)...)
	all = append(all, split("6.8.0-1010-kvm", "6.8.0-1010.10", false, false)...)
	return append(all, pkg{name: "linux-image-generic", version: "6.8.0-45.45", depends: "linux-image-6.8.0-45-generic"})
}

func ubuntuSource(t testing.TB, spec string, r *repo, c *kernel.Cache) *source {
	t.Helper()
	s, err := ParseUbuntu(spec, strings.TrimPrefix(spec, "ubuntu:")+",url="+r.URL+",key="+r.keyring, "amd64", c)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*source)
}

func TestUbuntuListsOpensAndDownloadsOnce(t *testing.T) {
	t.Parallel()
	pkgs := ubuntuPackages(t)
	r := newRepo(t, "noble", pkgs...)
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	s := ubuntuSource(t, "ubuntu:noble", r, c)
	refs := kerneltest.List(t, s)
	want := []string{
		"ubuntu/6.8.0-1010-kvm__6.8.0-1010.10", "ubuntu/6.8.0-1015-aws__6.8.0-1015.16",
		"ubuntu/6.8.0-31-generic__6.8.0-31.31", "ubuntu/6.8.0-45-generic__6.8.0-45.45",
	}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	if w := warnings(); len(w) != 2 || !strings.Contains(w[0]+w[1], "noble-updates") || !strings.Contains(w[0]+w[1], "noble-security") || !strings.Contains(w[0], "Ubuntu noble") {
		t.Errorf("warnings %q", w)
	}
	r.requests()
	for i, ref := range refs {
		im, err := s.Open(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(im.Config); string(b) != "CONFIG_"+ref.Release || im.Release != ref.Release || im.Arch != "amd64" {
			t.Errorf("config %q of %+v", b, im.Ref)
		}
		got := kerneltest.Modules(t, im)
		if got["kernel/fs/overlayfs/overlay.ko"] != "overlay of "+ref.Release || (got["kernel/net/sctp/sctp.ko"] != "") != (i >= 2) {
			t.Errorf("modules %q", got)
		}
	}
	for _, h := range r.requests() {
		if strings.Contains(h, "unsigned") && !strings.Contains(h, "kvm") {
			t.Errorf("%s was fetched though there is a signed one", h)
		}
	}
	again := ubuntuSource(t, "ubuntu:noble", r, c)
	for _, ref := range kerneltest.List(t, again) {
		if _, err := again.Open(context.Background(), ref); err != nil {
			t.Error(err)
		}
	}
	if hits := r.requests(); len(hits) != 0 {
		t.Errorf("the second run asked for %q", hits)
	}
	if got := kerneltest.IDs(kerneltest.List(t, ubuntuSource(t, "ubuntu:noble:aws", r, kerneltest.NewCache(t)))); len(got) != 1 || got[0] != want[1] {
		t.Errorf("ids %q", got)
	}
	var usage *kernel.UsageError
	_, err := ubuntuSource(t, "ubuntu:noble:gcp", r, kerneltest.NewCache(t)).List(context.Background())
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "it has aws, generic, kvm") {
		t.Errorf("error %v, want a UsageError that names the flavours there are", err)
	}
	none := ubuntuSource(t, "ubuntu:noble", &repo{Server: r.Server, keyring: r.keyring + ".none"}, kerneltest.NewCache(t))
	if _, err := none.List(context.Background()); err == nil || !strings.Contains(err.Error(), "read the keys of Ubuntu: open ") {
		t.Errorf("error %v", err)
	}
}

func TestSelectUbuntu(t *testing.T) {
	t.Parallel()
	const u = "5.15.0-91-generic"
	stanzas := func(text ...string) []stanza {
		list, err := parsePackages(strings.NewReader(strings.Join(text, "")), isKernelPackage)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, tc := range []struct {
		name string
		list []stanza
		want []string
		bare []string
	}{
		{
			"signed again", stanzas(pkgStanza("linux-image-"+u, "5.15.0-91.101+1", ""), pkgStanza("linux-image-unsigned-"+u, "5.15.0-91.101", ""), pkgStanza("linux-modules-"+u, "5.15.0-91.101", "")),
			[]string{u + " 5.15.0-91.101+1 image modules"},
			nil,
		},
		{
			"two builds of an ABI", stanzas(pkgStanza("linux-image-"+u, "1", ""), pkgStanza("linux-image-"+u, "2", ""), pkgStanza("linux-modules-"+u, "2", ""), pkgStanza("linux-modules-"+u, "1", "")),
			[]string{u + " 1 image modules", u + " 2 image modules"},
			nil,
		},
		{
			"in two pockets", stanzas(pkgStanza("linux-image-"+u, "1", ""), pkgStanza("linux-modules-"+u, "1", ""), pkgStanza("linux-image-"+u, "1", ""), pkgStanza("linux-modules-"+u, "1", "")),
			[]string{u + " 1 image modules"},
			nil,
		},
		{"without modules", stanzas(pkgStanza("linux-image-"+u, "1", "kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-"+u)), []string{u + " 1 image"}, []string{u}},
		{"not meta, debug, or other packages", stanzas(pkgStanza("linux-image-generic", "1", ""), pkgStanza("linux-image-generic-hwe-22.04", "1", ""), pkgStanza("linux-image-extra-virtual", "1", ""), pkgStanza("linux-image-5.15.0-91", "1", ""), pkgStanza("linux-image-uc-5.15.0-91-generic", "1", "")), nil, nil},
		{"large pages", stanzas(pkgStanza("linux-image-6.8.0-45-generic-64k", "1", ""), pkgStanza("linux-modules-6.8.0-45-generic-64k", "1", "")), []string{"6.8.0-45-generic-64k 1 image modules"}, nil},
	} {
		kernels, bare := selectKernels(tc.list, (&source{}).wants)
		var got []string
		for _, k := range kernels {
			line := k.Release + " " + k.Version
			for _, d := range k.Debs {
				line += " " + strings.Split(d.File, "-")[1]
			}
			got = append(got, line)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s: kernels (-want +got):\n%s", tc.name, d)
		}
		if d := cmp.Diff(tc.bare, bare); d != "" {
			t.Errorf("%s: bare (-want +got):\n%s", tc.name, d)
		}
	}
}

func TestUbuntuHostMirrors(t *testing.T) {
	t.Parallel()
	public := publicUbuntu("amd64")
	got := public.withTargets("http://azure.localhost/ubuntu/|noble|main|Ubuntu\nhttp://azure.localhost/ubuntu/|noble-security|main|Ubuntu\nhttp://d.localhost/debian|sid|main|Debian")
	if got.main != "http://azure.localhost/ubuntu" || got.security != "http://azure.localhost/ubuntu" {
		t.Errorf("%+v", got)
	}
	if got := public.withTargets("http://d.localhost/debian|sid|main|$(ORIGIN)"); got.main != public.main {
		t.Errorf("%+v", got)
	}
	if got := publicUbuntu("arm64"); got.main != "http://ports.ubuntu.com/ubuntu-ports" || got.security != got.main {
		t.Errorf("%+v", got)
	}
}
