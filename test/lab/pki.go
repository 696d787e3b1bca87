package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certValidity is longer than any lab lives and short enough that a forgotten key is worthless.
const certValidity = 30 * 24 * time.Hour

// authority signs certificates. Its files are NAME.crt and NAME.key in dir.
type authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// identity says what one certificate is for.
type identity struct {
	file  string   // NAME of NAME.crt and NAME.key
	name  string   // common name: the user name of a client
	group string   // organization: the group of a client
	hosts []string // DNS names and addresses of a server; none makes it a client's certificate only
}

func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of authority %s: %w", name, err)
	}
	template := certTemplate(pkix.Name{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing authority %s: %w", name, err)
	}
	a := &authority{dir: dir, name: name, cert: cert, key: key}
	return a, writePair(dir, name, der, key)
}

func (a *authority) certFile() string             { return filepath.Join(a.dir, a.name+".crt") }
func (a *authority) keyFile() string              { return filepath.Join(a.dir, a.name+".key") }
func (a *authority) file(name, ext string) string { return filepath.Join(a.dir, name+ext) }

// issue writes a key and a certificate for id.
func (a *authority) issue(id identity) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating the key of %s: %w", id.file, err)
	}
	subject := pkix.Name{CommonName: id.name}
	if id.group != "" {
		subject.Organization = []string{id.group}
	}
	template := certTemplate(subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(id.hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range id.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("signing the certificate of %s: %w", id.file, err)
	}
	return writePair(a.dir, id.file, der, key)
}

func certTemplate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		// Random, so that no two labs' certificates are mistaken for each other by a client's cache.
		SerialNumber: new(big.Int).SetBytes(randomBytes(16)),
		Subject:      subject,
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certValidity),
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	// crypto/rand.Read never fails: the runtime ends the process instead.
	_, _ = rand.Read(b)
	b[0] &= 0x7f // a serial number is positive
	return b
}

func writePair(dir, name string, der []byte, key *ecdsa.PrivateKey) error {
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	files := map[string]*pem.Block{".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}}
	if der != nil {
		files[".crt"] = &pem.Block{Type: "CERTIFICATE", Bytes: der}
	}
	for ext, block := range files {
		if err := os.WriteFile(filepath.Join(dir, name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("writing %s%s: %w", name, ext, err)
		}
	}
	return nil
}

// pki is every key and certificate of one lab.
type pki struct {
	cluster, etcd, proxy *authority
	serviceAccountKey    string
}

// newPKI writes all keys and certificates into dir. Three authorities, because a client
// certificate of the cluster must open neither etcd nor the aggregation layer.
func newPKI(dir string, net *network) (*pki, error) {
	var p pki
	var err error
	for name, a := range map[string]**authority{"ca": &p.cluster, "etcd-ca": &p.etcd, "front-proxy-ca": &p.proxy} {
		if *a, err = newAuthority(dir, name); err != nil {
			return nil, err
		}
	}
	api := net.host(hostAPI)
	names := []string{
		api, published(hostAPI), serviceAPIAddr, "127.0.0.1", "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	node := published(hostSystemNode)
	for _, issue := range []struct {
		by *authority
		id identity
	}{
		{p.etcd, identity{file: "etcd", name: "etcd", hosts: []string{api}}},
		{p.cluster, identity{file: "apiserver", name: "kube-apiserver", hosts: names}},
		{p.cluster, identity{file: "components", name: "kube-components", hosts: []string{api}}},
		{p.cluster, identity{file: "kubelet", name: "kubelet", hosts: []string{node, net.host(hostSystemNode)}}},
		{p.cluster, identity{file: "apiserver-kubelet", name: "kube-apiserver-kubelet", group: "system:masters"}},
		{p.cluster, identity{file: "admin", name: "lab-admin", group: "system:masters"}},
		{p.cluster, identity{file: "controller-manager", name: "system:kube-controller-manager"}},
		{p.cluster, identity{file: "scheduler", name: "system:kube-scheduler"}},
		{p.proxy, identity{file: "front-proxy", name: "front-proxy"}},
	} {
		if err := issue.by.issue(issue.id); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the service account key: %w", err)
	}
	p.serviceAccountKey = filepath.Join(dir, "service-account.key")
	return &p, writePair(dir, "service-account", nil, key)
}
