package apt

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// signers returns the files of keys one of which has to have signed a list, for
// apt's Signed-By: that which the user names, or ours and the host's, which may
// have a newer key. The caller holds the root's lock.
func (r *privateRoot) signers() (string, error) {
	a := r.archive
	if a.keyring != "" {
		if _, err := os.Stat(a.keyring); err != nil {
			return "", fmt.Errorf("read the keys of %s: %w", a.vendor, err)
		}
		return a.keyring, nil
	}
	ours := filepath.Join(r.dir, "etc", "archive-keys.asc")
	if err := os.WriteFile(ours, []byte(a.keys), 0o644); err != nil {
		return "", fmt.Errorf("set up private apt root: %w", err)
	}
	files := []string{ours}
	if _, err := os.Stat(a.hostKeyring); err == nil {
		files = append(files, a.hostKeyring)
	}
	return strings.Join(files, " "), nil
}
