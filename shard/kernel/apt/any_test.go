package apt

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestSelectAny(t *testing.T) {
	t.Parallel()
	const big = 20 << 20
	list := func(names ...string) (all []stanza) {
		for _, n := range names {
			name, version, small := strings.Cut(n, " ")
			s := stanza{Package: name, Version: "1", Size: big}
			if small {
				s.Size, s.Version = 1500, "1"
				if version != "small" {
					s.Size, s.Version = big, version
				}
			}
			all = append(all, s)
		}
		return all
	}
	for _, tc := range []struct {
		name, flavour string
		list          []stanza
		want          []string // release, flavour, packages
	}{
		{"Proxmox", "", list("proxmox-kernel-6.8.12-4-pve", "proxmox-kernel-6.8.12-4-pve-signed", "proxmox-kernel-6.8.12-4-pve-signed-template", "proxmox-kernel-6.8 small", "proxmox-headers-6.8.12-4-pve", "pve-kernel-5.15.158-2-pve", "proxmox-kernel-libc-dev"), []string{
			"5.15.158-2-pve pve pve-kernel-5.15.158-2-pve", "6.8.12-4-pve pve proxmox-kernel-6.8.12-4-pve-signed",
		}},
		{"XanMod", "", list("linux-image-6.9.3-x64v3-xanmod1", "linux-headers-6.9.3-x64v3-xanmod1", "linux-xanmod-x64v3 small"), []string{"6.9.3-x64v3-xanmod1 x64v3-xanmod1 linux-image-6.9.3-x64v3-xanmod1"}},
		{"Liquorix", "liquorix-amd64", list("linux-image-6.9.3-1-liquorix-amd64", "linux-image-liquorix-amd64 small", "linux-image-6.1.0-1-amd64"), []string{"6.9.3-1-liquorix-amd64 liquorix-amd64 linux-image-6.9.3-1-liquorix-amd64"}},
		{"Raspberry Pi", "rpi-v8", list("linux-image-6.12.47+rpt-rpi-v8", "linux-image-6.12.47+rpt-rpi-v8-dbg", "linux-image-6.12.47+rpt-rpi-2712", "linux-image-rpi-v8 small"), []string{"6.12.47+rpt-rpi-v8 rpi-v8 linux-image-6.12.47+rpt-rpi-v8"}},
		{"Armbian", "", list("linux-image-current-rockchip64", "linux-dtb-current-rockchip64"), []string{"current-rockchip64 current-rockchip64 linux-image-current-rockchip64"}},
		{"Ubuntu", "", list("linux-image-unsigned-6.8.0-45-generic 45", "linux-image-6.8.0-45-generic 45+1", "linux-modules-6.8.0-45-generic 45", "linux-modules-extra-6.8.0-45-generic 45", "linux-image-generic small", "linux-image-unsigned-6.8.0-9-aws"), []string{
			"6.8.0-45-generic generic linux-image-6.8.0-45-generic linux-modules-6.8.0-45-generic linux-modules-extra-6.8.0-45-generic",
			"6.8.0-9-aws aws linux-image-unsigned-6.8.0-9-aws",
		}},
		{"Debian of today", "", list("linux-image-7.2.1-amd64 small", "linux-binary-7.2.1-amd64", "linux-base-7.2.1-amd64", "linux-modules-7.2.1-amd64", "linux-image-7.2.1-amd64-dbg"), []string{"7.2.1-amd64 amd64 linux-base-7.2.1-amd64 linux-binary-7.2.1-amd64 linux-modules-7.2.1-amd64"}},
		{"Debian's unsigned", "", list("linux-image-6.1.0-50-rt-amd64-unsigned", "linux-image-6.1.0-50-rt-amd64", "linux-image-6.1.0-49-rt-amd64-unsigned"), []string{"6.1.0-49-rt-amd64 rt-amd64 linux-image-6.1.0-49-rt-amd64-unsigned", "6.1.0-50-rt-amd64 rt-amd64 linux-image-6.1.0-50-rt-amd64"}},
		{"no kernel", "", list("linux-image-amd64 small", "linux-modules-6.8.0-45-generic", "bash"), nil},
	} {
		for i := range tc.list {
			tc.list[i].Filename = tc.list[i].Package
		}
		var got []string
		s := &source{any: &anyRepository{}}
		if tc.flavour != "" {
			s.flavours = []string{tc.flavour}
		}
		kernels, _ := selectKernels(tc.list, s.wants)
		for _, k := range kernels {
			line := k.Release + " " + k.Flavour
			for _, d := range k.Debs {
				line += " " + d.File
			}
			got = append(got, line)
		}
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, d)
		}
	}
}

// anyPackages are kernels as vendors package them.
func anyPackages(t testing.TB) []pkg {
	const release = "6.8.12-4-pve"
	return []pkg{
		{name: "proxmox-kernel-" + release + "-signed", version: "6.8.12-4", control: "Source: proxmox-kernel-signed-6.8 (6.8.12+4)\n", files: map[string][]byte{
			"boot/vmlinuz-" + release:                                    append(imagetest.Vmlinuz(t, release), noise(minImage)...),
			"boot/config-" + release:                                     []byte("CONFIG_" + release),
			"lib/modules/" + release + "/kernel/fs/overlayfs/overlay.ko": []byte("overlay of " + release),
		}},
		{name: "proxmox-kernel-6.8", version: "6.8.12-4", depends: "proxmox-kernel-" + release + "-signed"},
	}
}

// noise does not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}

func TestAnyRepository(t *testing.T) {
	t.Parallel()
	r := newRepo(t, "bookworm", anyPackages(t)...)
	release := filepath.Join(r.dir, "dists/bookworm/InRelease")
	flat := func(dir, base string) {
		var index bytes.Buffer
		for _, p := range anyPackages(t) {
			d := buildDeb(t, p)
			imagetest.WriteFile(t, filepath.Join(r.dir, dir, filepath.Base(d.file)), d.data)
			index.WriteString(strings.Replace(d.stanza, "Filename: pool/main/", "Filename: "+base, 1))
		}
		imagetest.WriteFile(t, filepath.Join(r.dir, dir, "Packages"), index.Bytes())
	}
	flat("flat", "./")
	flat("below", "below/") // from the address on, not from the list
	parse := func(spec string, c *kernel.Cache) *source {
		s, err := ParseAny(spec, strings.TrimPrefix(spec, "apt:"), "amd64", c)
		if err != nil {
			t.Fatal(err)
		}
		return s.(*source)
	}
	suite := "apt:" + r.URL + " bookworm main"
	for _, tc := range []struct{ spec, distro string }{
		{suite + ",key=" + r.keyring, "debian"}, // as its Release file says
		{suite + ",flavour=pve,key=" + r.keyring, "debian"},
		{"apt:" + r.URL + "/flat ./,trusted=yes", "apt"},
		{"apt:file://" + r.dir + "/flat ./,trusted=yes", "apt"},
		{"apt:" + r.URL + "/flat /,trusted=yes", "apt"},
		{"apt:" + r.URL + " below/,trusted=yes", "apt"},
	} {
		s := parse(tc.spec, kerneltest.NewCache(t))
		refs := kerneltest.List(t, s)
		if d := cmp.Diff([]string{tc.distro + "/6.8.12-4-pve__6.8.12-4"}, kerneltest.IDs(refs)); d != "" {
			t.Errorf("%s: ids (-want +got):\n%s", tc.spec, d)
			continue
		}
		if ref := refs[0]; ref.Flavour != "pve" || ref.Package != "proxmox-kernel-signed-6.8 6.8.12+4" || !ref.Modules || ref.Release != "6.8.12-4-pve" {
			t.Errorf("%s: %+v", tc.spec, ref)
		}
		im, err := parse(tc.spec, kerneltest.NewCache(t)).Open(t.Context(), refs[0]) // with nothing but the Ref
		if err != nil {
			t.Errorf("%s: %v", tc.spec, err)
			continue
		}
		if im.Release != "6.8.12-4-pve" || kerneltest.Modules(t, im)["kernel/fs/overlayfs/overlay.ko"] == "" {
			t.Errorf("%s: %+v", tc.spec, im.Ref)
		}
	}
	// What this machine's apt trusts is not what the repository is signed with.
	_, otherKey := kerneltest.NewKey(t, "ed25519")
	for _, spec := range []string{suite, suite + ",key=" + otherKey, "apt:" + r.URL + "/flat ./", "apt:" + r.URL + "/flat ./,key=" + r.keyring} {
		if _, err := parse(spec, kerneltest.NewCache(t)).List(t.Context()); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line", spec, err)
		} else if strings.HasPrefix(spec, suite) && !(errors.Is(err, kernel.ErrSignature) && strings.Contains(err.Error(), ",key=FILE")) {
			t.Errorf("%s: %v, want one about the signature", spec, err)
		}
	}
	var usage *kernel.UsageError
	if _, err := parse(suite+",flavour=rt,key="+r.keyring, kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "it has pve") {
		t.Errorf("error %v, want a UsageError that names the flavours there are", err)
	}
	for bad, want := range map[string]string{
		" bookworm mian":               `has no component "mian": it has main`,
		" bookworm main mian":          `has no component "mian": it has main`,
		" bookworm main,flavour=arm64": `it has pve; "arm64" is an architecture: use --arch arm64`,
	} {
		if _, err := parse("apt:"+r.URL+bad+",key="+r.keyring, kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want a UsageError with %q", bad, err, want)
		}
	}
	noArch := r.source(t, "debian:bookworm:riscv64", kerneltest.NewCache(t))
	if _, err := noArch.List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "Debian bookworm has no riscv64 at the mirror "+r.URL+": it has amd64") {
		t.Errorf("error %v, want a UsageError that names the architectures", err)
	}
	imagetest.WriteFile(t, filepath.Join(r.dir, "none/Packages"), []byte(pkgStanza("linux-image-amd64", "1", "")+pkgStanza("bash", "1", "")))
	if _, err := parse("apt:"+r.URL+"/none ./,trusted=yes", kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "has no kernel for amd64 at this time; expected packages linux-image-<release>") {
		t.Errorf("error %v, want a UsageError", err)
	}
	spec := "apt:http://me:secret@" + strings.TrimPrefix(r.URL, "http://") + "/gone bookworm main"
	if _, err := parse(spec, kerneltest.NewCache(t)).List(t.Context()); !errors.As(err, &usage) || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "/gone") {
		t.Errorf("error %v, want a UsageError that names the address without its password", err)
	}
	// A list that was changed after it was signed is refused.
	b, err := os.ReadFile(release)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, release, bytes.Replace(b, []byte("Origin: Debian"), []byte("Origin: Dubian"), 1))
	if _, err := parse(suite+",key="+r.keyring, kerneltest.NewCache(t)).List(t.Context()); !errors.Is(err, kernel.ErrSignature) {
		t.Errorf("error %v, want ErrSignature", err)
	}
	// A list past its time is used, with a warning.
	r.release(t, "bookworm", time.Now().Add(-24*time.Hour))
	c := kerneltest.NewCache(t)
	warnings := kerneltest.CollectWarnings(c)
	if refs := kerneltest.List(t, parse(suite+",key="+r.keyring, c)); len(refs) != 1 || !slices.ContainsFunc(warnings(), func(w string) bool { return strings.Contains(w, "out of date") }) {
		t.Errorf("%q", kerneltest.IDs(refs))
	}
}

func TestAnySpecsThatAreRefused(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"":                                        "expected",
		"https://h.example":                       "expected",
		"https://h.example bookworm":              "expected",
		"https://h.example ./ main":               "expected",
		"https://h.example a;b main":              "expected",
		"https://h.example bookworm -o":           "expected",
		"ftp://h.example bookworm main":           "no mirror that apt can read",
		"https://h.example b m,trusted=1":         "want trusted=yes",
		"https://h.example b m,key=k,trusted=yes": "leave one of them out",
		"https://h.example b m,url=x":             "no meaning here",
		"https://h.example b m,flavour=;":         "no kernel flavour",
	} {
		var usage *kernel.UsageError
		if _, err := ParseAny("apt:"+spec, spec, "amd64", nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want a UsageError with %q", spec, err, want)
		}
	}
}
