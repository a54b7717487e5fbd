package trainer

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/visutility/visutility/internal/durable"
)

// ErrToken is the error for a callback whose token is missing, forged or another run's.
var ErrToken = errors.New("the token is not valid for this run")

// Tokens makes and checks the tokens with which webhook trainers call back: each is good for
// one attempt of one run. None is stored: a token is a signature (HMAC-SHA256). Safe for concurrent use.
type Tokens struct{ key []byte }

// OpenTokens reads the key in the file, or makes a new one, readable by its owner only.
func OpenTokens(file string) (*Tokens, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		text = []byte(hex.EncodeToString(key) + "\n")
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		err = durable.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of callback tokens: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("the key of callback tokens in %s is damaged; remove the file to get a new one, which ends the callbacks of trainings under way", file)
	}
	return &Tokens{key: key}, nil
}

// Token returns the token of an attempt.
func (t *Tokens) Token(run string, attempt int) string {
	n := strconv.Itoa(attempt)
	return n + "." + base64.RawURLEncoding.EncodeToString(t.sign(run, n))
}

// Check returns the attempt that a token of the run is for, or [ErrToken].
func (t *Tokens) Check(run, token string) (attempt int, err error) {
	n, text, _ := strings.Cut(token, ".")
	mac, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || !hmac.Equal(mac, t.sign(run, n)) {
		return 0, ErrToken
	}
	if attempt, err = strconv.Atoi(n); err != nil {
		return 0, ErrToken
	}
	return attempt, nil
}

func (t *Tokens) sign(run, attempt string) []byte {
	h := hmac.New(sha256.New, t.key)
	fmt.Fprintf(h, "visutility callback\x00%d\x00%s\x00%s", len(run), run, attempt) // never fails
	return h.Sum(nil)
}
