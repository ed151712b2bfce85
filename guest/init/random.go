package main

import (
	"crypto/sha256"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seedRNG makes the kernel's random numbers ready, which on an emulated machine
// can take minutes: before 4.19 no kernel trusts the CPU's, and not every CPU has
// any. A program that asks for one waits until then.
func seedRNG(nonce string) error {
	var b [1]byte
	if _, err := unix.Getrandom(b[:], unix.GRND_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
		return nil
	}
	seed := sha256.Sum256([]byte("seed of random numbers " + nonce))
	return wrap("make random numbers ready", reseedRNG(seed[:], false))
}

// reseedRNG gives the kernel's random state what no other VM has. With now, the
// kernel uses it from now on, whatever it has given out.
func reseedRNG(entropy []byte, now bool) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	// struct rand_pool_info
	info := make([]int32, 2+(len(entropy)+3)/4)
	info[0], info[1] = int32(8*len(entropy)), int32(len(entropy))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&info[2])), 4*len(info[2:])), entropy)
	defer clear(info)
	defer clear(entropy)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&info[0]))); errno != 0 {
		return errno
	}
	if !now {
		return nil
	}
	const reseed = 0x5207 // RNDRESEEDCRNG
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), reseed, 0); errno != 0 {
		return errno
	}
	return nil
}
