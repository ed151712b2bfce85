package report

import (
	"slices"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	// In order, oldest first.
	order := []string{
		"4.4", "5.10.29-27.126.amzn2.x86_64", "5.10.102-99.473.amzn2.x86_64", "v5.13.4", "mainline-v5.14",
		"6.1.0-0.deb11.48", "6.1.0-9", "6.1.0-56", "6.1.192-1", "6.1.192-2", "6.12-rc1", "6.12-rc10", "6.12~x", "6.12",
		"6.12.90+deb12", "6.12.90+deb12.1", "6.12.117+deb13", "10.0", "99999999999999999999999.1",
	}
	for i, a := range order {
		for j, b := range order {
			if got, want := CompareVersions(a, b), sign(i-j); got != want {
				t.Errorf("CompareVersions(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
	if CompareVersions("v6.01", "6.1") != 0 {
		t.Error("leading zeros or the v count")
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("6.1.0-9", "6.1.0-56", "6.12-rc1")
	f.Add("~", "-rc", "mainline-v5")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if CompareVersions(a, b) != -CompareVersions(b, a) || CompareVersions(a, a) != 0 {
			t.Fatalf("not antisymmetric: %q, %q", a, b)
		}
		s := []string{a, b, c}
		slices.SortFunc(s, CompareVersions)
		if CompareVersions(s[0], s[2]) > 0 {
			t.Fatalf("not transitive: %q", s)
		}
	})
}
