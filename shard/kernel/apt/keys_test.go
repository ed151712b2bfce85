package apt

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

// The keys are those that ftp-master.debian.org/keys.html and Ubuntu's own
// ubuntu-keyring name, and no others.
func TestArchiveKeys(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		want       []string
	}{
		{"Debian", debianKeys, []string{
			"1F89983E0081FDE018F3CC9673A4F27B8DD47936", "AC530D520F2F3269F5E98313A48449044AAD5C5D", "A4285295FC7B1A81600062A9605C66F00D6C9793", // 11
			"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8", "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0", "4D64FEC119C2029067D6E791F8D2585B8783D481", // 12
			"04B54C3CDCA79751B16BC6B5225629DF75B188BD", "5E04A1E3223A19A20706E20F9904613D4CCE68C6", "41587F7DB8C774BCCF131416762F67A0B2C39DE4", // 13
		}},
		{"Ubuntu", ubuntuKeys, []string{
			"790BC7277767219C42C86F933B4FE6ACC0B21F32", // 2012
			"F6ECB3762474EDA9D21B7022871920D1991BC93C", // 2018
		}},
	} {
		list, err := openpgp.ReadArmoredKeyRing(strings.NewReader(tt.keys))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got []string
		for _, k := range list {
			if k.PrivateKey != nil {
				t.Errorf("%s: a private key", tt.name)
			}
			got = append(got, strings.ToUpper(hex.EncodeToString(k.PrimaryKey.Fingerprint)))
		}
		slices.Sort(got)
		slices.Sort(tt.want)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

// Debian's lists are verified by these keys alone, on a host that has no keyring
// or an old one.
func TestDebianWithoutTheHostsKeyring(t *testing.T) {
	if testing.Short() {
		t.Skip("reads Debian's archive")
	}
	needTools(t)
	for _, suite := range []string{"bullseye", "bookworm", "trixie", "sid"} {
		s, err := ParseDebian("debian:"+suite, suite+":cloud-amd64", "amd64", kerneltest.NewCache(t))
		if err != nil {
			t.Fatal(err)
		}
		s.(*source).archive.hostKeyring = filepath.Join(t.TempDir(), "none")
		if list := kerneltest.List(t, s); len(list) == 0 {
			t.Errorf("%s has no kernels", suite)
		}
		rings, err := os.ReadDir(filepath.Join(s.(*source).root.dir, keysDir))
		if err != nil || len(rings) != 1 || rings[0].Name() != "0.asc" {
			t.Errorf("%s: %v, %v", suite, rings, err)
		}
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{"junk": "no key", "empty": "", "missing": ""} {
		file := filepath.Join(dir, name)
		if name != "missing" {
			imagetest.WriteFile(t, file, []byte(text))
		}
		var usage *kernel.UsageError
		r := &privateRoot{dir: dir, archive: mirrors{vendor: "Debian", keyring: file}}
		if err := r.trust(); !errors.As(err, &usage) || !strings.Contains(err.Error(), file) || len(err.Error()) > 100+len(file) {
			t.Errorf("%s: error %v, want a short UsageError that names the file", name, err)
		}
	}
}

// The keys are found in a directory of any name, such as a job's workspace.
func TestKeysBelowABlank(t *testing.T) {
	r := newRepo(t, "sid", debianPackages(t)...)
	cache, err := kernel.NewCache(filepath.Join(t.TempDir(), "My Job, 2"))
	if err != nil {
		t.Fatal(err)
	}
	s := r.source(t, "debian:sid", cache)
	// Ours are written below the cache, and the host's have the repository's.
	s.archive.keyring, s.archive.keys, s.archive.hostKeyring = "", debianKeys, r.keyring
	if list := kerneltest.List(t, s); len(list) == 0 {
		t.Error("no kernels")
	}
}
