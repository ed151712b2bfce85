package kernel

import (
	"os"
	"testing"
)

func TestNotes(t *testing.T) {
	c, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if c.Recall("host", "one", &got) {
		t.Error("a note was there before any was written")
	}
	if err := c.Remember("host", "one", []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if !c.Recall("host", "one", &got) || len(got) != 2 || got[1] != "b" {
		t.Errorf("got %q", got)
	}
	if c.Recall("host", "two", &got) {
		t.Error("the note of another key was taken")
	}
	if err := os.WriteFile(c.note("host"), []byte(`{"key":"one","value":["a"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.Recall("host", "one", &got) {
		t.Error("a note that is cut short was taken")
	}
}
