package apt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func pkgStanza(name, version, depends string) string {
	s := "Package: " + name + "\nVersion: " + version + "\n"
	if depends != "" {
		s += "Depends: " + depends + "\n"
	}
	return s + "Description: x\n Package: not-a-field\nFilename: pool/main/l/" + name + ".deb\nSize: 10\nSHA256: " + kerneltest.Sum([]byte(name+version)) + "\n\n"
}

func TestWord(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "a": false, "ab": true, "a\n": false, "-b": false,
		strings.Repeat("a", 200): true, strings.Repeat("a", 201): false,
	} {
		if got := packageRE.MatchString(s); got != want {
			t.Errorf("%.10q of %d bytes: %v", s, len(s), got)
		}
	}
}

func TestSelectKernels(t *testing.T) {
	one := func(names ...string) string {
		var b strings.Builder
		for _, n := range names {
			b.WriteString(pkgStanza(n, "1-1", ""))
		}
		return b.String()
	}
	const seven = "7.0.13+deb13-amd64"
	dep := func(prefix string) string { return prefix + seven + " (= 1-1)" }
	for _, tc := range []struct {
		name, list, flavours string
		want                 []string // release, version, package names
		bare                 []string
	}{
		{
			"releases as Debian writes them", one("linux-image-6.1.0-56-amd64", "linux-image-6.12.117+deb13-amd64", "linux-image-6.1.0-0.deb11.48-amd64", "linux-image-7.2.13+deb14-amd64", "linux-image-6.12.90+deb12.1-amd64"), "amd64",
			[]string{"6.1.0-0.deb11.48-amd64 1-1", "6.1.0-56-amd64 1-1", "6.12.117+deb13-amd64 1-1", "6.12.90+deb12.1-amd64 1-1", "7.2.13+deb14-amd64 1-1"},
			nil,
		},
		{"not meta, debug or template packages", one("linux-image-amd64", "linux-image-6.12-amd64", "linux-image-6.1.0-56-amd64-dbg", "linux-image-amd64-signed-template", "linux-image-6.12-amd64-signed-template"), "amd64", nil, nil},
		{
			"not other flavours", one("linux-image-6.1.0-56-cloud-amd64", "linux-image-6.1.0-56-rt-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-56-686"), "cloud-amd64",
			[]string{"6.1.0-56-cloud-amd64 1-1"},
			nil,
		},
		{"arm64 with large pages", one("linux-image-6.12.107+deb13-arm64-16k", "linux-image-6.12.107+deb13-arm64"), "arm64-16k", []string{"6.12.107+deb13-arm64-16k 1-1"}, nil},
		{
			"unsigned only where nothing is signed", one("linux-image-6.1.0-56-amd64", "linux-image-6.1.0-56-amd64-unsigned", "linux-image-6.1.0-57-amd64-unsigned"), "amd64",
			[]string{"6.1.0-56-amd64 1-1", "6.1.0-57-amd64 1-1"},
			nil,
		},
		{
			"every version, once", pkgStanza("linux-image-6.1.0-56-amd64", "2", "") + pkgStanza("linux-image-6.1.0-56-amd64", "1", "") + pkgStanza("linux-image-6.1.0-56-amd64", "2", ""), "amd64",
			[]string{"6.1.0-56-amd64 1", "6.1.0-56-amd64 2"},
			nil,
		},
		{
			"7.x in parts", pkgStanza("linux-image-"+seven, "1-1", "x | y, "+dep("linux-base-")+", "+dep("linux-binary-")+", "+dep("linux-modules-")) + one("linux-modules-"+seven, "linux-binary-"+seven, "linux-base-"+seven), "amd64",
			[]string{seven + " 1-1 base binary modules"},
			nil,
		},
		{
			"7.x without modules", pkgStanza("linux-image-"+seven, "1-1", dep("linux-base-")+", "+dep("linux-binary-")+", "+dep("linux-modules-")) + one("linux-binary-"+seven), "amd64",
			[]string{seven + " 1-1 binary"},
			[]string{seven},
		},
		{"7.x without an image", pkgStanza("linux-image-"+seven, "1-1", dep("linux-binary-")) + pkgStanza("linux-binary-"+seven, "1-2", ""), "amd64", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stanzas, err := parsePackages(strings.NewReader(tc.list), isKernelPackage)
			if err != nil {
				t.Fatal(err)
			}
			kernels, bare := selectKernels(stanzas, (&source{flavours: []string{tc.flavours}}).wants)
			var got []string
			for _, k := range kernels {
				line := k.Release + " " + k.Version
				for _, d := range k.Debs {
					if part := strings.Split(d.File, "linux-")[1]; part[:6] != "image-" {
						line += " " + part[:strings.IndexByte(part, '-')]
					}
				}
				got = append(got, line)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("kernels (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tc.bare, bare); d != "" {
				t.Errorf("bare (-want +got):\n%s", d)
			}
		})
	}
}

func TestParsePackagesPassesOverWhatIsNotWellFormed(t *testing.T) {
	good := pkgStanza("linux-image-6.1.0-56-amd64", "1", "")
	for name, list := range map[string]string{
		"path that leads out":  strings.Replace(good, "pool/main/l/", "../../", 1),
		"absolute path":        strings.Replace(good, "pool/main/l/", "/etc/", 1),
		"URL for a path":       strings.Replace(good, "pool/main/l/", "a b", 1),
		"no size":              strings.Replace(good, "Size: 10", "Size: -1", 1),
		"huge size":            strings.Replace(good, "Size: 10", "Size: 99999999999999", 1),
		"short digest":         strings.Replace(good, "SHA256: ", "SHA256: 00", 1),
		"version with a slash": strings.Replace(good, "Version: 1", "Version: 1/../..", 1),
	} {
		got, err := parsePackages(strings.NewReader(list+good), isKernelPackage)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %d packages, %v; want the good one", name, len(got), err)
		}
	}
	long := "Package: linux-image-x\nDepends: " + strings.Repeat("x", 1<<20) + "\n\n" + good
	if got, err := parsePackages(strings.NewReader(long), isKernelPackage); err != nil || len(got) != 1 {
		t.Errorf("long line: %d packages, %v", len(got), err)
	}
	if got, _ := parsePackages(strings.NewReader(strings.TrimRight(good, "\n")), isKernelPackage); len(got) != 1 {
		t.Error("the last stanza needs no blank line")
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add(pkgStanza("linux-image-6.1.0-56-amd64", "1", "a (= 1), b | c"))
	f.Add(pkgStanza("linux-image-7.0.13+deb13-amd64", "1", "linux-binary-7.0.13+deb13-amd64 (= 1)") + pkgStanza("linux-binary-7.0.13+deb13-amd64", "1", "linux-image-7.0.13+deb13-amd64 (= 1)"))
	f.Add("Package: linux-image-6.1.0-1-amd64\n\n\nSize:\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parsePackages(strings.NewReader(text), isKernelPackage)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if !s.valid() || !isKernelPackage(s.Package) {
				t.Fatalf("kept %+v", s)
			}
		}
		kernels, _ := selectKernels(list, (&source{any: &anyRepository{}}).wants)
		for _, k := range kernels {
			if len(k.Debs) == 0 || kernel.SafeName(k.Release) != k.Release {
				t.Fatalf("kernel %+v", k)
			}
			for _, d := range k.Debs {
				if !validFilename(d.File) {
					t.Fatalf("file %q", d.File)
				}
			}
		}
	})
}

func TestHostMirrors(t *testing.T) {
	public := publicDebian()
	for _, tc := range []struct{ name, lines, main, security string }{
		{"nothing", "", public.main, public.security},
		{"both", "http://mirror.localhost/debian/|bookworm|main|Debian\nhttp://mirror.localhost/debian-security/|bookworm-security|main|Debian", "http://mirror.localhost/debian", "http://mirror.localhost/debian-security"},
		{"before the first update", "http://mirror.localhost/debian/|bookworm|main|$(ORIGIN)", "http://mirror.localhost/debian", public.security},
		{"old name of security", "http://mirror.localhost/debian-security/|buster/updates|main|Debian", public.main, "http://mirror.localhost/debian-security"},
		{"other vendors", "http://x.localhost/linux/debian/|bookworm|stable|Docker\nhttp://y.localhost/|bookworm|main|Else\nhttp://z.localhost/ubuntu/|noble|main|Ubuntu\nhttp://v.localhost/apt/|bookworm|main|$(ORIGIN)", public.main, public.security},
		{"what cannot be a mirror", "cdrom:[Debian]/debian|bookworm|main|Debian\nhttp://a b/debian|bookworm|main|Debian\nnonsense", public.main, public.security},
	} {
		if got := public.withTargets(tc.lines); got.main != tc.main || got.security != tc.security {
			t.Errorf("%s: %q and %q, want %q and %q", tc.name, got.main, got.security, tc.main, tc.security)
		}
	}
}

func TestFilterAcquire(t *testing.T) {
	keep := []string{
		`Acquire::http::Proxy "http://proxy.localhost:3128";`,
		`Acquire::http::Proxy::deb.localhost "DIRECT";`,
		`Acquire::https::CAInfo "/etc/ssl/ca.pem";`,
		`Acquire::Retries "5";`,
		`Acquire::ForceIPv4 "true";`,
	}
	drop := []string{
		`APT::Update::Post-Invoke:: "rm -rf /";`,
		`Acquire::GzipIndexes "true";`,
		`Acquire::AllowInsecureRepositories "true";`,
		`Acquire::Check-Valid-Until "false";`,
		`Acquire::Check-Date "false";`,
		`Acquire::IndexTargets::deb::DEP-11 "";`,
		`Acquire::Languages:: "de";`,
		`Dir::Cache::pkgcache "";`,
	}
	if d := cmp.Diff(strings.Join(keep, "\n")+"\n", filterAcquire(strings.Join(append(drop, keep...), "\n"))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
