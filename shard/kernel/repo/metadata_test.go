package repo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

func TestResolveHref(t *testing.T) {
	t.Parallel()
	const base = "https://mirror.localhost/2/core/2.0/x86_64/0123"
	for href, want := range map[string]string{
		"Packages/k/kernel-6.1-1.rpm":      base + "/Packages/k/kernel-6.1-1.rpm",
		"../../../blobstore/ab/kernel.rpm": "https://mirror.localhost/2/core/blobstore/ab/kernel.rpm",
		"../../../../../../../../x.rpm":    "https://mirror.localhost/x.rpm",
		"kernel-6.1~rc1+x^2-1.rpm":         base + "/kernel-6.1~rc1+x%5E2-1.rpm",
		"kernel-6.1%2Bx-1.rpm":             base + "/kernel-6.1%2Bx-1.rpm",
		"/etc/passwd":                      "",
		"//other.localhost/x.rpm":          "",
		"http://other.localhost/x.rpm":     "",
		"file:///etc/passwd":               "",
		"x.rpm?y":                          "",
		"x.rpm#y":                          "",
		"x y.rpm":                          "",
		"":                                 "",
		"a\n.rpm":                          "",
		"%zz":                              "",
		"..\\x":                            "",
		"a/" + strings.Repeat("b", 2000):   "",
		"a:b/c.rpm":                        "",
		"@other.localhost/x":               "",
	} {
		got, err := resolveHref(base, href)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", href, got, err, want)
		}
	}
	for href, want := range map[string]string{"x/../y.rpm": "file:///srv/repo/y.rpm", "../repository/y.rpm": "", "%2e%2e/%2e%2e/etc/passwd": ""} {
		if got, err := resolveHref("file:///srv/repo", href); got != want || (err == nil) != (want != "") {
			t.Errorf("%q in a directory: %q, %v; want %q", href, got, err, want)
		}
	}
}

func rpmEntry(name, version, release string, installed int) pkg {
	var p pkg
	p.Name, p.Arch, p.Version.Version, p.Version.Release, p.Size.Installed = name, "x86_64", version, release, int64(installed)
	return p
}

func TestSelectRPMs(t *testing.T) {
	t.Parallel()
	const big, small = 50 << 20, 0
	full := func(stem, v, r string) []pkg {
		return []pkg{
			rpmEntry(stem, v, r, small), rpmEntry(stem+"-core", v, r, big), rpmEntry(stem+"-modules", v, r, big), rpmEntry(stem+"-modules-core", v, r, big),
			rpmEntry(stem+"-modules-extra", v, r, big), rpmEntry(stem+"-modules-internal", v, r, big), rpmEntry(stem+"-devel", v, r, big),
			rpmEntry(stem+"-devel-matched", v, r, small), rpmEntry(stem+"-uki-virt", v, r, big), rpmEntry(stem+"-debuginfo", v, r, big),
		}
	}
	join := func(lists ...[]pkg) (all []pkg) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	others := []pkg{
		rpmEntry("kernel-headers", "6.1", "1", big), rpmEntry("kernel-tools", "6.1", "1", big), rpmEntry("kernel-doc", "6.1", "1", big),
		rpmEntry("kernel-srpm-macros", "1.0", "1", big), rpmEntry("kernel-livepatch-6.1", "1", "1", big), rpmEntry("kernelshark", "1", "1", big),
		rpmEntry("kernel-abi-stablelists", "6.1", "1", big), rpmEntry("kernel-cross-headers", "6.1", "1", big), rpmEntry("kernel-rpm-macros", "1", "1", big),
		rpmEntry("kernel-debug-modules-core", "6.1", "9", big), rpmEntry("kernel-selftests-internal", "6.1", "1", big), rpmEntry("kernel-core-uname-r", "1", "1", small),
	}
	for _, tc := range []struct {
		name, flavour string
		list          []pkg
		want          []string
		bare          []string
	}{
		{"in parts", "", join(full("kernel", "6.11.4", "301.fc41"), others), []string{"6.11.4-301.fc41.x86_64: kernel-core kernel-modules-core kernel-modules"}, nil},
		{"variants are asked for", "", join(full("kernel-rt", "5.14.0", "1.el9"), full("kernel-debug", "5.14.0", "1.el9"), full("kernel-64k", "5.14.0", "1.el9")), nil, nil},
		{"rt", "rt", join(full("kernel-rt", "5.14.0", "1.el9"), full("kernel-rt-debug", "5.14.0", "1.el9"), full("kernel", "5.14.0", "1.el9")), []string{"5.14.0-1.el9.x86_64+rt: kernel-rt-core kernel-rt-modules-core kernel-rt-modules"}, nil},
		{"rt-debug", "rt-debug", full("kernel-rt-debug", "5.14.0", "1.el9"), []string{"5.14.0-1.el9.x86_64+rt-debug: kernel-rt-debug-core kernel-rt-debug-modules-core kernel-rt-debug-modules"}, nil},
		{"one package", "", []pkg{rpmEntry("kernel", "5.10.1", "2.amzn2", big), rpmEntry("kernel-devel", "5.10.1", "2.amzn2", big)}, []string{"5.10.1-2.amzn2.x86_64: kernel"}, nil},
		{"only what depends on others", "", []pkg{rpmEntry("kernel", "5.14.0", "1.el9", 1000)}, nil, nil},
		{
			"AL2023", "",
			[]pkg{rpmEntry("kernel", "6.1.1", "2.amzn2023", big), rpmEntry("kernel6.12", "6.12.1", "2.amzn2023", big), rpmEntry("kernel6.12-modules-extra", "6.12.1", "2.amzn2023", big)},
			[]string{"6.1.1-2.amzn2023.x86_64: kernel", "6.12.1-2.amzn2023.x86_64: kernel6.12"},
			nil,
		},
		{
			"UEK and RHCK", "", join(full("kernel", "5.14.0", "1.el9"), full("kernel-uek", "5.15.0", "3.el9uek")),
			[]string{"5.14.0-1.el9.x86_64: kernel-core kernel-modules-core kernel-modules", "5.15.0-3.el9uek.x86_64: kernel-uek-core kernel-uek-modules-core kernel-uek-modules"},
			nil,
		},
		{"RHCK alone", "kernel", join(full("kernel", "5.14.0", "1.el9"), full("kernel-uek", "5.15.0", "3.el9uek")), []string{"5.14.0-1.el9.x86_64: kernel-core kernel-modules-core kernel-modules"}, nil},
		{"without modules", "", full("kernel", "5.14.0", "1.el9")[:2], []string{"5.14.0-1.el9.x86_64: kernel-core"}, []string{"5.14.0-1.el9.x86_64"}},
		{"modules of another build", "", join(full("kernel", "5.14.0", "1.el9")[:2], full("kernel", "5.14.0", "2.el9")[2:]), []string{"5.14.0-1.el9.x86_64: kernel-core"}, []string{"5.14.0-1.el9.x86_64"}},
		{"once, though in two repositories", "", join(full("kernel", "5.14.0", "1.el9"), full("kernel", "5.14.0", "1.el9")), []string{"5.14.0-1.el9.x86_64: kernel-core kernel-modules-core kernel-modules"}, nil},
	} {
		kernels, bare := selectKernels(tc.list, tc.flavour)
		var got []string
		for _, k := range kernels {
			line := k.release + ":"
			for _, p := range k.packages {
				line += " " + p.Name
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

// Other architectures are in openSUSE's ports.
func TestPorts(t *testing.T) {
	t.Parallel()
	for arch, want := range map[string]string{"amd64": "h/tumbleweed/repo/oss", "arm64": "h/ports/aarch64/tumbleweed/repo/oss"} {
		for _, d := range Distros() {
			if d.Name != "opensuse" {
				continue
			}
			s, err := d.Parse("", "tumbleweed,url=http://h", arch, nil)
			if err != nil {
				t.Fatal(err)
			}
			all, err := s.(*source).addresses(t.Context(), s.(*source).repos[0])
			if err != nil || len(all) != 1 || all[0] != "http://"+want {
				t.Errorf("%s: %q, %v, want %s", arch, all, err, want)
			}
		}
	}
	if got := portsOf("s390x"); got != "zsystems" {
		t.Error(got)
	}
}

func TestSelectRPMsTakesTheFirstRepository(t *testing.T) {
	t.Parallel()
	var list []pkg
	for _, repo := range []string{"releases", "updates"} {
		p := rpmEntry("kernel", "6.1", "1", 50<<20)
		p.repo = repo
		list = append(list, p)
	}
	if kernels, _ := selectKernels(list, ""); len(kernels) != 1 || kernels[0].packages[0].repo != "releases" {
		t.Errorf("%+v", kernels)
	}
}

const primaryDoc = `<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="1">
<package type="rpm"><name>kernel-core</name><arch>x86_64</arch><version epoch="0" ver="6.11.4" rel="301.fc41"/>
<checksum type="sha256" pkgid="YES">` + zeroSum + `</checksum><summary>The &lt;Linux&gt; kernel</summary>
<size package="100" installed="52428800" archive="0"/><location href="Packages/k/kernel-core.rpm"/>
<format><rpm:provides><rpm:entry name="kernel-uname-r" flags="EQ" epoch="0" ver="6.11.4" rel="301.fc41.x86_64"/></rpm:provides><rpm:requires><rpm:entry name="x"/></rpm:requires></format></package>
</metadata>
`

const zeroSum = "0000000000000000000000000000000000000000000000000000000000000000"

func TestParsePrimaryPassesOverWhatIsNotValid(t *testing.T) {
	t.Parallel()
	one, bad, err := parsePrimary(strings.NewReader(primaryDoc), "x86_64")
	if err != nil || len(one) != 1 || bad != nil || one[0].uname("kernel") != "6.11.4-301.fc41.x86_64" {
		t.Fatalf("%+v, %q, %v", one, bad, err)
	}
	for name, edit := range map[string][2]string{
		"path that is absolute": {"Packages/k/", "/etc/"},
		"another host":          {"Packages/k/", "http://localhost/"},
		"outside":               {`href="Packages`, `xml:base="http://localhost/" href="Packages`},
		"weak checksum":         {`type="sha256"`, `type="md5"`},
		"short checksum":        {zeroSum, "00"},
		"no size":               {`package="100"`, `package="0"`},
		"negative size":         {`package="100"`, `package="-1"`},
		"huge size":             {`package="100"`, `package="99999999999999"`},
		"version with a slash":  {`ver="6.11.4" rel="301.fc41"/>`, `ver="../../6" rel="301.fc41"/>`},
		"name with a quote":     {"<name>kernel-core<", "<name>kernel&quot;core<"},
	} {
		doc := strings.Replace(primaryDoc, edit[0], edit[1], 1)
		if doc == primaryDoc {
			t.Fatalf("%s: nothing was changed", name)
		}
		got, bad, err := parsePrimary(strings.NewReader(doc), "x86_64")
		if err != nil || len(got) != 0 || len(bad) != 1 || strings.Contains(bad[0], "\n") {
			t.Errorf("%s: %d packages, %q, %v; want one bad", name, len(got), bad, err)
		}
	}
	for _, arch := range []string{"i686", "src", "noarch", "aarch64"} {
		got, bad, err := parsePrimary(strings.NewReader(strings.Replace(primaryDoc, "<arch>x86_64", "<arch>"+arch, 1)), "x86_64")
		if err != nil || len(got) != 0 || len(bad) != 0 {
			t.Errorf("%s: %d packages, %q, %v", arch, len(got), bad, err)
		}
	}
	for i := range len(primaryDoc) - 2 { // less than the end tag
		if _, _, err := parsePrimary(strings.NewReader(primaryDoc[:i]), "x86_64"); err == nil {
			t.Fatalf("cut after %d bytes it is taken", i)
		}
	}
}

func FuzzParseRepomd(f *testing.F) {
	f.Add([]byte(`<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary"><checksum type="sha256">` + zeroSum + `</checksum><location href="repodata/p.xml.gz"/><size>10</size></data></repomd>`))
	f.Add([]byte(`<!DOCTYPE r [<!ENTITY a "b">]><repomd>&a;</repomd>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRepomd(b)
		if err != nil {
			return
		}
		if r.Checksum.check() != nil || r.Size < 0 || r.Size > maxPrimary {
			t.Fatalf("%+v", r)
		}
		checkHref(t, r.Location.Href)
	})
}

// checkHref holds that an accepted location stays on the mirror.
func checkHref(t *testing.T, href string) {
	const host = "https://mirror.localhost/"
	if uri, err := resolveHref(host+"a/b", href); err == nil && !strings.HasPrefix(uri, host) {
		t.Fatalf("%q leads to %q", href, uri)
	}
}

func FuzzParsePrimary(f *testing.F) {
	f.Add([]byte(primaryDoc))
	f.Add([]byte(`<metadata><package type="rpm"><name>kernel</name>`))
	f.Add([]byte(strings.Repeat(`<metadata><package >`, 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _, err := parsePrimary(bytes.NewReader(b), "x86_64")
		if err != nil {
			return
		}
		for i := range list {
			if err := list[i].check(); err != nil {
				t.Fatalf("kept %+v: %v", list[i], err)
			}
			checkHref(t, list[i].Location.Href)
		}
		for _, flavour := range []string{"", "kernel", "rt"} {
			kernels, _ := selectKernels(list, flavour)
			for _, k := range kernels {
				if len(k.packages) == 0 || k.release == "" {
					t.Fatalf("%+v", k)
				}
			}
		}
	})
}

// cpioArchive writes the format of cpio(5) as the test means it, not as a tool
// would allow.
func cpioArchive(entries ...cpioMember) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for _, e := range append(entries, cpioMember{name: cpioTrailer}) {
		if e.size == 0 {
			e.size = len(e.data)
		}
		if e.length == 0 {
			e.length = len(e.name) + 1
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, e.mode, 0, 0, max(e.links, 1), 0, e.size, 0, 0, 0, 0, e.length, 0)
		b.WriteString(e.name + "\x00")
		pad()
		b.WriteString(e.data)
		pad()
	}
	return b.Bytes()
}

type cpioMember struct {
	name, data   string
	mode         int
	links        int
	size, length int // when they are not those of data and name
}

// rpmFileOf wraps a payload in a lead and headers with just a name, and a
// signature of header and payload where there is one.
func rpmFileOf(sig, payload []byte) []byte {
	b := append([]byte{0xed, 0xab, 0xee, 0xdb}, make([]byte, leadSize-4)...)
	type tag struct {
		tag, kind uint32
		data      []byte
	}
	header := func(tags ...tag) {
		var index, store []byte
		for _, t := range tags {
			count := uint32(len(t.data))
			if t.kind == typeString {
				t.data, count = append(t.data, 0), 1
			}
			for _, n := range []uint32{t.tag, t.kind, uint32(len(store)), count} {
				index = binary.BigEndian.AppendUint32(index, n)
			}
			store = append(store, t.data...)
		}
		b = append(b, 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(len(tags)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(store)))
		b = append(append(b, index...), store...)
	}
	if sig == nil {
		header()
	} else {
		header(tag{sigPGP, typeBin, sig})
		b = append(b, make([]byte, -len(sig)&7)...)
	}
	text := func(n uint32, s string) tag { return tag{n, typeString, []byte(s)} }
	header(text(tagName, "kernel"), text(tagVersion, "1"), text(tagRelease, "2"), text(tagArch, "x86_64"))
	return append(b, payload...)
}

// What an RPM's payload must not do.
func TestHostileRPMs(t *testing.T) {
	t.Parallel()
	const reg = cpioRegular | 0o644
	vmlinuz := string(imagetest.Vmlinuz(t, "6.1.1"))
	bomb := imagetest.Compressed(t, image.Gzip, cpioArchive(cpioMember{name: "./boot/vmlinuz-6.1.1", mode: reg, data: strings.Repeat("\x00", 64<<20)}))
	for _, tc := range []struct {
		name string
		rpm  []byte
		want string // of the error; "" for a kernel
	}{
		{"good", rpmFileOf(nil, cpioArchive(cpioMember{name: "./boot/vmlinuz-6.1.1", mode: reg, data: vmlinuz})), ""},
		{"paths that lead out", rpmFileOf(nil, cpioArchive(
			cpioMember{name: "../../boot/vmlinuz-6.1.1", mode: reg, data: vmlinuz},
			cpioMember{name: "./lib/modules/../../../vmlinuz", mode: reg, data: vmlinuz},
			cpioMember{name: "/boot/vmlinuz-6.1.1", mode: reg, data: vmlinuz})), "holds no kernel"},
		{"links and devices", rpmFileOf(nil, cpioArchive(
			cpioMember{name: "./boot/vmlinuz-6.1.1", mode: 0o120777, data: "/etc/passwd"},
			cpioMember{name: "./boot/vmlinuz", mode: 0o020644},
			cpioMember{name: "./lib/modules/6.1.1/vmlinuz", mode: 0o040755})), "holds no kernel"},
		{"a hard link before its content", rpmFileOf(nil, cpioArchive(
			cpioMember{name: "./boot/vmlinuz-6.1.1", mode: reg, links: 2},
			cpioMember{name: "./lib/modules/6.1.1/vmlinuz", mode: reg, links: 2, data: vmlinuz})), ""},
		{"a name with a line break", rpmFileOf(nil, cpioArchive(cpioMember{name: "./boot/vmlinuz-6\n::error::x", mode: reg, data: vmlinuz})), "holds no kernel"},
		{"a name without end", rpmFileOf(nil, cpioArchive(cpioMember{name: "./boot/vmlinuz", mode: reg, length: 1 << 30})), "exceeds the limit"},
		{"a file without end", rpmFileOf(nil, cpioArchive(cpioMember{name: "./boot/vmlinuz", mode: reg, data: "x", size: 0xffffffff})), "exceeds the limit"},
		{"a file that is cut", rpmFileOf(nil, cpioArchive(cpioMember{name: "./boot/vmlinuz", mode: reg, data: vmlinuz, size: 1 << 20})), "unexpected EOF"},
		{"not a kernel", rpmFileOf(nil, bomb), "is no kernel image"},
		{"no trailer", rpmFileOf(nil, cpioArchive()[:100]), "unexpected EOF"},
		{"not cpio", rpmFileOf(nil, []byte("hello")), "no cpio archive"},
		{"large-file cpio", rpmFileOf(nil, append([]byte("07070X"), make([]byte, 200)...)), "not supported"},
		{"no payload", rpmFileOf(nil, nil), "no cpio archive"},
		{"no RPM", []byte("hello"), "read RPM"},
		{"another file", make([]byte, 1000), "not an RPM"},
		{"a header of 4 GiB", append(rpmFileOf(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), "exceeds the limit"},
		{"a header of 4 billion tags", append(rpmFileOf(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), "exceeds the limit"},
		{"a header that is cut", append(rpmFileOf(nil, nil)[:leadSize], 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0xff, 0, 0), "unexpected EOF"},
	} {
		dir := t.TempDir()
		file := imagetest.WriteFile(t, filepath.Join(dir, "0.rpm"), tc.rpm)
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		e, err := unpack.Packages(context.Background(), out, []kernel.Archive{packageAt(file)})
		switch {
		case tc.want == "" && (err != nil || e.Image.Version != "6.1.1"):
			t.Errorf("%s: %+v, %v", tc.name, e, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: error %v, want one line with %q", tc.name, err, tc.want)
		}
		if left, _ := os.ReadDir(dir); len(left) != 2 {
			t.Errorf("%s: files outside: %v", tc.name, left)
		}
	}
	var limit *bounded.LimitError
	endless := io.MultiReader(bytes.NewReader(cpioArchive(cpioMember{name: "a", mode: reg, size: 0xfffffffc})[:116]), endlessZeros{})
	if err := walkCpio(context.Background(), io.LimitReader(endless, 16), func(string, int64, io.Reader) error { return nil }); err == nil || errors.As(err, &limit) {
		t.Errorf("error %v, want that of a cut archive", err)
	}
}

func FuzzRPM(f *testing.F) {
	const reg = cpioRegular | 0o644
	payload := cpioArchive(cpioMember{name: "./boot/vmlinuz-6.1.1", mode: reg, data: "kernel"}, cpioMember{name: "../x", mode: reg, data: "y"})
	f.Add(rpmFileOf(nil, payload))
	f.Add(rpmFileOf(nil, imagetest.Compressed(f, image.Gzip, payload)))
	f.Add(rpmFileOf(nil, cpioArchive(cpioMember{name: "a", mode: reg, links: 2}, cpioMember{name: "b", mode: 0o120777, data: "c"})))
	f.Add(rpmFileOf(nil, nil)[:leadSize+20])
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		signature, header, err := readHeaders(r)
		if err != nil {
			return
		}
		_ = header.nevra()
		for tag := range header.tags {
			header.string(tag)
			header.int32(tag)
			header.bytes(tag)
		}
		firstBytes(signature, sigRSAHeader, sigDSAHeader, sigPGP, sigGPG)
		if len(header.raw) > len(b) {
			t.Fatalf("a header of %d bytes out of %d", len(header.raw), len(b))
		}
		// The decompressors have fuzz targets of their own.
		rest, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = walkCpio(context.Background(), bytes.NewReader(rest), func(name string, size int64, r io.Reader) error {
			if got, ok := unpack.MemberName(name); !ok || got != name {
				t.Fatalf("name %q", name)
			}
			n, err := io.Copy(io.Discard, r)
			if n > size || err == nil && n != size {
				t.Fatalf("%d bytes of a file of %d", n, size)
			}
			return err
		})
	})
}

// FuzzKeys holds that neither keys nor signatures from elsewhere end the run.
func FuzzKeys(f *testing.F) {
	gnupg, exported := kerneltest.Key(f)
	key, err := os.ReadFile(exported)
	if err != nil {
		f.Fatal(err)
	}
	file := imagetest.WriteFile(f, filepath.Join(f.TempDir(), "x"), []byte("text"))
	kerneltest.Command(f, "gpg", "--homedir", gnupg, "--batch", "--quiet", "--detach-sign", file)
	sig, err := os.ReadFile(file + ".sig")
	if err != nil {
		f.Fatal(err)
	}
	good, err := readKeyring(exported)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key, sig)
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n-----END PGP PUBLIC KEY BLOCK-----"), []byte("-----BEGIN PGP SIGNATURE-----\n\n=x"))
	f.Fuzz(func(t *testing.T, key, sig []byte) {
		if list, err := parseKeys(key); err == nil {
			_ = (&keyring{entities: list}).verify(strings.NewReader("text"), sig) // of any key: anything may come
		}
		if err := good.verify(strings.NewReader("other text"), sig); err == nil {
			t.Fatal("a signature of another text is taken")
		}
	})
}

func TestParseMirrorList(t *testing.T) {
	t.Parallel()
	list := []byte("https://a.localhost/x/$basearch/\r\nhttp://b.localhost/x\n# text\n\nftp://c.localhost\n/etc\nfile:///etc\nhttps://d.localhost/?x=y\n")
	if d := cmp.Diff([]string{"https://a.localhost/x/x86_64", "http://b.localhost/x"}, parseMirrorList(list, "x86_64", false)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"https://a.localhost/x/x86_64"}, parseMirrorList(list, "x86_64", true)); d != "" {
		t.Errorf("encrypted (-want +got):\n%s", d)
	}
	if got := parseMirrorList(bytes.Repeat([]byte("http://b.localhost/x\n"), 10*maxMirrors), "", false); len(got) != maxMirrors {
		t.Errorf("%d mirrors", len(got))
	}
}

// The list of Fedora is 250 MB: it must not take minutes.
func BenchmarkParsePrimary(b *testing.B) {
	other := strings.Replace(strings.Replace(primaryDoc, "kernel-core", "other", 1), "</summary>", strings.Repeat("x", 3000)+"</summary>", 1)
	other = other[strings.Index(other, "<package "):strings.Index(other, "</metadata>")]
	doc := strings.Replace(primaryDoc, "</metadata>", strings.Repeat(other, 1000)+"</metadata>", 1)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, _, err := parsePrimary(strings.NewReader(doc), "x86_64"); err != nil {
			b.Fatal(err)
		}
	}
}

type endlessZeros struct{}

func (endlessZeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
