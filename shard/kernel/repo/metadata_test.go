package repo

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
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
		{
			"Mageia", "",
			[]pkg{rpmEntry("kernel-desktop-5.15.23-1.mga8", "1", "1.mga8", big), rpmEntry("kernel-desktop", "6.6.28", "1.mga9", big), rpmEntry("kernel-server", "6.6.28", "1.mga9", big), rpmEntry("kernel-desktop-devel-5.15.23-1.mga8", "1", "1.mga8", big), rpmEntry("kernel-desktop-latest", "6.6.28", "1.mga9", small)},
			[]string{"5.15.23-desktop-1.mga8: kernel-desktop-5.15.23-1.mga8", "6.6.28-desktop-1.mga9: kernel-desktop"},
			nil,
		},
		{"without modules", "", full("kernel", "5.14.0", "1.el9")[:2], []string{"5.14.0-1.el9.x86_64: kernel-core"}, []string{"5.14.0-1.el9.x86_64"}},
		{"modules of another build", "", join(full("kernel", "5.14.0", "1.el9")[:2], full("kernel", "5.14.0", "2.el9")[2:]), []string{"5.14.0-1.el9.x86_64: kernel-core"}, []string{"5.14.0-1.el9.x86_64"}},
		{"once, though in two repositories", "", join(full("kernel", "5.14.0", "1.el9"), full("kernel", "5.14.0", "1.el9")), []string{"5.14.0-1.el9.x86_64: kernel-core kernel-modules-core kernel-modules"}, nil},
	} {
		kernels, _ := rpmFormat().choose(tc.list, tc.flavour)
		var got, bare []string
		for _, k := range kernels {
			if !k.modules {
				bare = append(bare, k.release)
			}
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
	if kernels, _ := rpmFormat().choose(list, ""); len(kernels) != 1 || kernels[0].packages[0].repo != "releases" {
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
			kernels, _ := rpmFormat().choose(list, flavour)
			for _, k := range kernels {
				if len(k.packages) == 0 || k.release == "" {
					t.Fatalf("%+v", k)
				}
			}
		}
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
