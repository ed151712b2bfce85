package gcs

import (
	"context"
	"os"
	"time"

	"cloud.google.com/go/auth"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// DescribeCredentials says in a few words whose credentials gs:// sources are
// read with, and shows nothing secret. On a machine of Google's it asks the
// machine, for as long as limit; it never asks for a token.
func DescribeCredentials(ctx context.Context, limit time.Duration) string {
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		return "none, for the emulator at " + bounded.OneLine(emulator)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return describeCredentials(ctx, findCredentials)
}

func describeCredentials(ctx context.Context, find func() (*auth.Credentials, error)) string {
	said := make(chan string, 1)
	go func() { // it asks by network whether this is a machine of Google's, with limits of its own
		creds, err := find()
		switch {
		case err != nil:
			said <- "cannot be used: " + bounded.OneLine(err.Error())
		case creds == nil:
			said <- "none found: only public buckets can be read (gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS)"
		default:
			said <- identity(ctx, creds).name
		}
	}()
	select {
	case s := <-said:
		return s
	case <-ctx.Done():
		return "unknown: this machine's metadata server does not answer in time"
	}
}
