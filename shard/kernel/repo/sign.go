package repo

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	openpgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const maxKeyFile = 4 << 20 // bytes

// keyring holds the keys that have to have signed, and where they came from.
type keyring struct {
	entities openpgp.EntityList
	from     string // for error messages
	id       string // the same for the same keys
}

// readKeyring reads files of OpenPGP keys, armoured or not. One that cannot be
// used, such as a key of a kind that is no longer safe, is passed over where
// another file has one.
func readKeyring(files ...string) (*keyring, error) {
	k := &keyring{from: strings.Join(files, ", ")}
	failed := errors.New("all of them are revoked")
	sum := sha256.New()
	for _, file := range files {
		list, err := readKeyFile(file)
		if err != nil {
			failed = err
		}
		for _, e := range withoutRevoked(file, list) {
			k.entities = append(k.entities, e)
			fmt.Fprintf(sum, "%x %d", e.PrimaryKey.Fingerprint, len(e.Revocations))
			for _, sub := range e.Subkeys {
				fmt.Fprintf(sum, " %x", sub.PublicKey.Fingerprint)
			}
		}
	}
	k.id = hex.EncodeToString(sum.Sum(nil)[:8])
	if len(k.entities) == 0 {
		return nil, kernel.Usagef("read OpenPGP keys: %v", failed)
	}
	return k, nil
}

// withoutRevoked leaves out revoked keys, also those whose fingerprints pacman keeps
// in a file beside a keyring: archlinux-revoked beside archlinux.gpg. Whoever has a key
// chooses the date of a signature, so earlier ones do not count either. Only a key that
// was superseded or retired stays, for what it signed before.
func withoutRevoked(file string, list openpgp.EntityList) openpgp.EntityList {
	revoked := func(sigs []*packet.Signature) bool {
		return slices.ContainsFunc(sigs, func(s *packet.Signature) bool {
			why := s.RevocationReason
			return why == nil || *why != packet.KeySuperseded && *why != packet.KeyRetired
		})
	}
	b, _ := os.ReadFile(strings.TrimSuffix(file, ".gpg") + "-revoked") // which few have
	named := strings.Fields(strings.ToLower(string(b)))
	return slices.DeleteFunc(list, func(e *openpgp.Entity) bool {
		e.Subkeys = slices.DeleteFunc(e.Subkeys, func(sub openpgp.Subkey) bool { return revoked(sub.Revocations) })
		return revoked(e.Revocations) || slices.Contains(named, hex.EncodeToString(e.PrimaryKey.Fingerprint))
	})
}

func readKeyFile(file string) (openpgp.EntityList, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("%q is larger than any file of keys", file)
	}
	list, err := parseKeys(b)
	if err == nil && len(list) == 0 {
		err = errors.New("there is none in it")
	}
	if err != nil {
		if structural := openpgperrors.StructuralError(""); errors.As(err, &structural) {
			err = errors.New("it is something else")
		}
		return nil, fmt.Errorf("%q holds none that can be used: %w", file, err)
	}
	return list, nil
}

// parseKeys takes several armoured blocks in one file, as distributions ship
// them, with text between.
func parseKeys(b []byte) (openpgp.EntityList, error) {
	const begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
	if !bytes.Contains(b, []byte(begin)) {
		return openpgp.ReadKeyRing(bytes.NewReader(b))
	}
	var all openpgp.EntityList
	for {
		i := bytes.Index(b, []byte(begin))
		if i < 0 {
			return all, nil
		}
		b = b[i:]
		j := bytes.Index(b, []byte(end))
		if j < 0 {
			return nil, errors.New("a key block does not end")
		}
		list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(b[:j+len(end)]))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		b = b[j+len(end):]
	}
}

// verify checks a detached signature, armoured or not. It has to have been good
// when it was made: packages outlive the keys that signed them.
func (k *keyring) verify(signed io.Reader, sig []byte) error {
	sig, err := dearmor(sig)
	if err != nil {
		return fmt.Errorf("%w: %w", kernel.ErrSignature, err)
	}
	p, err := packet.Read(bytes.NewReader(sig))
	if err != nil {
		return fmt.Errorf("%w: %w", kernel.ErrSignature, err)
	}
	s, ok := p.(*packet.Signature)
	if !ok {
		return fmt.Errorf("%w: it is something else", kernel.ErrSignature)
	}
	config := &packet.Config{Time: func() time.Time { return s.CreationTime }}
	if _, err := openpgp.CheckDetachedSignature(k.entities, signed, bytes.NewReader(sig), config); err != nil {
		return fmt.Errorf("%w: %w (keys of %s)", kernel.ErrSignature, err, k.from)
	}
	return nil
}

// verifyPackage checks that one of the keys has signed the package: its header and,
// by the digest that the header holds, its payload; or both at once, as old
// versions of rpm sign.
func (k *keyring) verifyPackage(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	signature, header, err := unpack.ReadRPM(f)
	if err != nil {
		return err
	}
	start, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	none := fmt.Errorf("%w: the package is not signed", kernel.ErrSignature)
	if want := header.String(unpack.RPMPayloadDigest); want != "" {
		sig := firstBytes(signature, unpack.RPMSigRSAHeader, unpack.RPMSigDSAHeader)
		if sig == nil {
			return none
		}
		if err := k.verify(bytes.NewReader(header.Raw), sig); err != nil {
			return err
		}
		// The numbers are OpenPGP's (RFC 9580, 9.5).
		algo, ok := map[uint32]crypto.Hash{8: crypto.SHA256, 9: crypto.SHA384, 10: crypto.SHA512}[header.Int32(unpack.RPMPayloadAlgo)]
		if !ok {
			return fmt.Errorf("%w: the payload's digest is of an unknown kind", kernel.ErrSignature)
		}
		h := algo.New()
		if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
			return err
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != want {
			return fmt.Errorf("%w: the payload has digest %s, not %s as signed", kernel.ErrSignature, got, want)
		}
		return nil
	}
	sig := firstBytes(signature, unpack.RPMSigPGP, unpack.RPMSigGPG)
	if sig == nil {
		return none
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return err
	}
	return k.verify(io.MultiReader(bytes.NewReader(header.Raw), f), sig)
}

func firstBytes(h *unpack.RPMHeader, tags ...uint32) []byte {
	for _, t := range tags {
		if b := h.Bytes(t); b != nil {
			return b
		}
	}
	return nil
}

// dearmor returns the bytes of a signature that may be armoured.
func dearmor(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		return b, nil
	}
	block, err := armor.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(block.Body, maxKeyFile))
}
