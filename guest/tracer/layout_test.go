package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// signatureMap are the parameters of functions: names of structs pointed to.
type signatureMap map[string][]string

func (m signatureMap) params(fn string) ([]string, bool) {
	p, ok := m[fn]
	return p, ok
}

// The signatures as BTF of the kernels has them.
func signaturesOf(kernel string) signatureMap {
	m := signatureMap{
		"vfs_unlink":      {"mnt_idmap", "inode", "dentry", ""},
		"vfs_rename":      {"renamedata"},
		"do_truncate":     {"mnt_idmap", "dentry", "", "", "file"},
		"vfs_setxattr":    {"mnt_idmap", "dentry", "", "", "", ""},
		"vfs_removexattr": {"mnt_idmap", "dentry", ""},
		"inet_csk_accept": {"sock", "proto_accept_arg"},
	}
	if kernel == "5.10" {
		m["vfs_unlink"] = []string{"inode", "dentry", ""}
		m["vfs_rename"] = []string{"inode", "dentry", "inode", "dentry", "", ""}
		m["do_truncate"] = []string{"dentry", "", "", "file"}
		m["vfs_setxattr"] = []string{"dentry", "", "", "", ""}
		m["vfs_removexattr"] = []string{"dentry", ""}
		m["inet_csk_accept"] = []string{"sock", "", "", ""}
	}
	return m
}

func TestNewLayout(t *testing.T) {
	tests := []struct {
		kernel string
		want   layout
	}{
		{"5.10", layout{
			UnlinkDentry: 1, UnlinkArgs: 3, RenameOld: 1, RenameArgs: 6,
			TruncateDentry: 0, TruncateFile: 3, TruncateArgs: 4, SetxattrDentry: 0, SetxattrArgs: 5,
			RemovexattrDentry: 0, RemovexattrArgs: 2, AcceptArgs: 4,
		}},
		{"7.3", layout{
			UnlinkDentry: 2, UnlinkArgs: 4, RenameArgs: 1,
			TruncateDentry: 1, TruncateFile: 4, TruncateArgs: 5, SetxattrDentry: 1, SetxattrArgs: 6,
			RemovexattrDentry: 1, RemovexattrArgs: 3, AcceptArgs: 2,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.kernel, func(t *testing.T) {
			got, unfit := newLayout(signaturesOf(tt.kernel))
			if len(unfit) != 0 {
				t.Errorf("unfit: %v", unfit)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A signature that is like none known is refused, never guessed.
func TestNewLayoutUnfit(t *testing.T) {
	tests := map[string][]string{
		"vfs_unlink":      {"inode", "", ""},
		"vfs_rename":      {"something_new"},
		"do_truncate":     {"dentry", "", ""},
		"inet_csk_accept": {"", "", "", "", "", "", ""},
		"vfs_setxattr":    nil, // not in BTF
	}
	m := signaturesOf("7.3")
	for fn, params := range tests {
		if m[fn] = params; params == nil {
			delete(m, fn)
		}
	}
	_, unfit := newLayout(m)
	want := slices.Sorted(maps.Keys(tests))
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(unfit))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
