package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receiver is the other end of the webhooks of the stories:
//
//	receiver DIR
//
// It listens on a free port, writes every DIR/*.yaml.in as a policy with its own address for ADDRESS, and then receiver.addr.
// DIR/key is the key of the signatures. What it receives, and what its callbacks are
// answered, goes to receiver.log. The parameter "calls" of a policy lists the
// bodies of the callbacks that a job makes, one after the other.
func receiver() {
	if err := receive(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

func receive(dir string) error {
	key, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		return err
	}
	verifier, err := standardwebhooks.NewWebhook(strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	file, err := os.Create("receiver.log")
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	forms, err := filepath.Glob(filepath.Join(dir, "*.yaml.in"))
	if err != nil {
		return err
	}
	for _, form := range forms {
		b, err := os.ReadFile(form)
		if err != nil {
			return err
		}
		b = bytes.ReplaceAll(b, []byte("ADDRESS"), []byte(l.Addr().String()))
		if err := os.WriteFile(strings.TrimSuffix(form, ".in"), b, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile("receiver.addr", []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	return http.Serve(l, &partner{verifier, log.New(file, "", 0)})
}

type partner struct {
	verifier *standardwebhooks.Webhook
	log      *log.Logger
}

// assignment is what the other end reads of a request.
type assignment struct {
	Type       string
	Run        string
	Model      string
	Parameters struct{ Calls []json.RawMessage }
	Callback   struct{ URL, Token string }
}

func (p *partner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = p.verifier.Verify(body, r.Header)
	}
	var a assignment
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		p.log.Print("refused: ", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.log.Printf("%s %s %s", a.Type, a.Model, r.Header.Get("webhook-id"))
	w.WriteHeader(http.StatusAccepted)
	if a.Type == "train" {
		go func() {
			p.call(a, "forged", []byte(`{"status": "failed", "error": "forged"}`))
			for _, body := range a.Parameters.Calls {
				p.call(a, a.Callback.Token, body)
			}
		}()
	}
}

func (p *partner) call(a assignment, token string, body []byte) {
	req, err := http.NewRequest(http.MethodPost, a.Callback.URL, bytes.NewReader(body))
	if err != nil {
		p.log.Print(err)
		return
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.log.Print(err)
		return
	}
	defer resp.Body.Close()
	p.log.Printf("called %s %s: %d", a.Model, body, resp.StatusCode)
}
