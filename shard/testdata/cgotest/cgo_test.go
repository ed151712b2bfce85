// Package cgotest is a test that needs the C library, by what Go takes from it.
package cgotest

import (
	"net"
	"os/user"
	"testing"
)

func TestNet(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestUser(t *testing.T) {
	u, err := user.Lookup("root")
	if err != nil || u.Uid != "0" {
		t.Fatalf("%+v, %v", u, err)
	}
}
