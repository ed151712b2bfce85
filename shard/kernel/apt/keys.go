package apt

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// The keys that the archives are signed with, of Debian 11 to 13 and of Ubuntu
// since 2012, without what others have signed of them. They are here because a
// host's own keyring may be older than the suite that it is to verify, as
// Ubuntu 22.04's of Debian is.
var (
	//go:embed keys/debian.asc
	debianKeys string
	//go:embed keys/ubuntu.asc
	ubuntuKeys string
)

// keysDir is the root's directory of the keys one of which has to have signed a
// list. Signed-By could not name a file whose path has a blank.
const keysDir = "etc/trusted.gpg.d"

// keyRE is how files of OpenPGP keys begin: with the tag of a public key, or, after
// whatever text, armoured.
var keyRE = regexp.MustCompile(`^(?s:[^\x00-\x7f]|.*-----BEGIN PGP PUBLIC KEY BLOCK-----)`)

// trust fills keysDir: with the keys that the user names, or with ours and the
// host's, which may have a newer one. The caller holds the root's lock.
func (r *privateRoot) trust() error {
	a := r.archive
	dir := filepath.Join(r.dir, keysDir)
	var rings [][]byte
	if a.keyring != "" {
		b, err := os.ReadFile(a.keyring)
		if err != nil {
			return &kernel.UsageError{Msg: "read the keys of " + a.vendor, Err: err}
		}
		if !keyRE.Match(b) {
			return kernel.Usagef("read the keys of %s: %q holds no OpenPGP keys", a.vendor, a.keyring)
		}
		rings = append(rings, b)
	} else {
		if a.keys != "" {
			rings = append(rings, []byte(a.keys))
		}
		found, _ := filepath.Glob(a.hostKeyring) // its only error is a bad pattern
		for _, file := range found {
			if b, err := os.ReadFile(file); err == nil {
				rings = append(rings, b)
			}
		}
	}
	err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
	for i, b := range rings {
		name := fmt.Sprintf("%d.gpg", i)
		if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
			name = fmt.Sprintf("%d.asc", i)
		}
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), b, 0o644))
	}
	if err != nil {
		return fmt.Errorf("set up private apt root: %w", err)
	}
	return nil
}
