package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
)

// TestBadInputIsRefusedWithTheRemedy: what a user sees who applies a wrong WorkloadSpread.
func TestBadInputIsRefusedWithTheRemedy(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("taken", "taken", subset{"own", ""}))
	for name, tc := range map[string]struct{ spec, want string }{
		"a wrong percentage":     {`{"targetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"subsets":[{"name":"a","maxReplicas":"50.5%"}]}`, `spec.subsets[0].maxReplicas: Invalid value: "50.5%"`},
		"an unknown kind":        {`{"targetRef":{"apiVersion":"v1","kind":"Service","name":"web"},"subsets":[{"name":"a"}]}`, "use one of Deployment (apps)"},
		"a subset twice":         {`{"targetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"subsets":[{"name":"a"},{"name":"a"}]}`, `spec.subsets[1].name: Duplicate value: "a"`},
		"a patch that is no pod": {`{"targetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"web"},"subsets":[{"name":"a","patch":{"metadata":{"labels":{"vk":true}}}}]}`, "put the value in quotes"},
		"a target of another":    {`{"targetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"taken"},"subsets":[{"name":"a"}]}`, "WorkloadSpread taken spreads this workload already"},
	} {
		t.Run(name, func(t *testing.T) {
			body := fmt.Sprintf(`{"apiVersion":"apps.kruise.io/v1alpha1","kind":"WorkloadSpread","metadata":{"name":"bad"},"spec":%s}`, tc.spec)
			err := cluster.Clientset().RESTClient().Post().AbsPath("/apis/apps.kruise.io/v1alpha1/namespaces", f.ns, "workloadspreads").
				Body([]byte(body)).Do(f.ctx).Error()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want a refusal with %q", err, tc.want)
			}
		})
	}
}

// manager returns a client for one replica, and the address of one of its ports.
func (f *fixture) manager(port int) (*http.Client, string) {
	f.Helper()
	pods, err := cluster.Pods(f.ctx)
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range pods {
		if p.Namespace == system {
			c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the name on the certificate is the Service's
				ForceAttemptHTTP2: true,
			}}
			f.Cleanup(c.CloseIdleConnections)
			return c, net.JoinHostPort(p.Address, fmt.Sprint(port))
		}
	}
	f.Fatal("no replica runs")
	return nil, ""
}

func TestMalformedRequestsGetACleanError(t *testing.T) {
	f := newFixture(t)
	c, address := f.manager(9443)
	for name, tc := range map[string]struct {
		body io.Reader
		code int
		want string
	}{
		"text":                {strings.NewReader("pod"), 400, "BadReview"},
		"no request":          {strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`), 400, "BadReview"},
		"a body over 7 MiB":   {bytes.NewReader(make([]byte, 8<<20)), 413, "BodyTooLarge"},
		"a pod of wrong type": {strings.NewReader(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","resource":{"resource":"pods"},"object":{"spec":7}}}`), 400, "decode the pod"},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(f.ctx, http.MethodPost, "https://"+address+"/mutate-pods", tc.body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			response, err := c.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tc.code || !strings.Contains(string(text), tc.want) {
				t.Errorf("got %d %s, want %d with %q", response.StatusCode, text, tc.code, tc.want)
			}
			if response.ProtoMajor != 1 {
				t.Errorf("served over %s: HTTP/2 must be off", response.Proto)
			}
		})
	}
}

func TestMetricsAskWhoReads(t *testing.T) {
	f := newFixture(t)
	c, address := f.manager(8443)
	get := func(token string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(f.ctx, http.MethodGet, "https://"+address+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if code, _ := get(""); code != http.StatusUnauthorized {
		t.Errorf("without a token: got %d, want 401", code)
	}
	if code, _ := get(f.token("stranger")); code != http.StatusForbidden {
		t.Errorf("without permission: got %d, want 403", code)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: f.ns},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "spillway-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: f.ns, Name: "reader"}},
	}
	if err := cluster.client.Create(f.ctx, binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.client.Delete(context.WithoutCancel(f.ctx), binding); err != nil {
			t.Error(err)
		}
	})
	token := f.token("reader")
	f.eventually("the reader may read", func() (bool, string) {
		code, text := get(token)
		return code == http.StatusOK && strings.Contains(text, "spillway_admission_duration_seconds_count"), fmt.Sprint(code)
	})
}

// token makes a ServiceAccount and returns a token of it.
func (f *fixture) token(name string) string {
	f.Helper()
	f.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}})
	token, err := cluster.Clientset().CoreV1().ServiceAccounts(f.ns).CreateToken(f.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return token.Status.Token
}

func TestADryRunReservesNothing(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "2"}, subset{"virtual", ""}))
	f.create(deployment("web", 0))
	var sets appsv1.ReplicaSetList
	f.eventually("the ReplicaSet exists", func() (bool, string) {
		if err := cluster.client.List(f.ctx, &sets, client.InNamespace(f.ns)); err != nil {
			return false, err.Error()
		}
		return len(sets.Items) == 1, fmt.Sprint(len(sets.Items))
	})
	rs := sets.Items[0]
	for range 3 {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				GenerateName: "dry-", Namespace: f.ns, Labels: rs.Spec.Template.Labels,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&rs, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
			},
			Spec: rs.Spec.Template.Spec,
		}
		if err := cluster.client.Create(f.ctx, pod, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		if r, _ := v1alpha1.ParseRecord(pod.Annotations); r.Subset != "own" {
			t.Errorf("the dry run shows subset %q, want own", r.Subset)
		}
	}
	f.scale("web", 3)
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 1})
}

func TestPodsThatOptOutAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	d := deployment("web", 2)
	d.Spec.Template.Labels[v1alpha1.LabelAdmission] = v1alpha1.AdmissionDisabled
	f.create(d)
	f.eventually("two pods exist", func() (bool, string) {
		n := len(f.pods("web"))
		return n == 2, fmt.Sprint(n)
	})
	for _, p := range f.pods("web") {
		if len(p.Annotations) != 0 || p.Spec.Affinity != nil {
			t.Errorf("pod %s was changed: %v", p.Name, p.Annotations)
		}
	}
}

func TestPeopleAreToldWhatHappens(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "2"}, subset{"virtual", "1"}))
	f.create(deployment("web", 4))
	for _, want := range []struct {
		reason v1alpha1.Reason
		note   string
	}{
		{v1alpha1.ReasonSubsetAssigned, `Pods go to subset "own"`},
		{v1alpha1.ReasonOverflow, `Pods go to subset "virtual": "own" is full`},
		{v1alpha1.ReasonNoSubsetAvailable, `"own" is full, "virtual" is full`},
	} {
		f.eventually(fmt.Sprintf("the event %s", want.reason), func() (bool, string) {
			var list eventsv1.EventList
			if err := cluster.client.List(f.ctx, &list, client.InNamespace(f.ns)); err != nil {
				return false, err.Error()
			}
			seen := ""
			for _, e := range list.Items {
				if e.Regarding.Kind == "WorkloadSpread" {
					seen += e.Reason + ": " + e.Note + "; "
					if e.Reason == string(want.reason) && strings.Contains(e.Note, want.note) {
						return true, ""
					}
				}
			}
			return false, seen
		})
	}
}
