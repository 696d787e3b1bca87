package chart

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// serviceMonitor has the fields of the Prometheus operator's ServiceMonitor that the
// chart uses. The operator's own module would be a dependency for this test alone.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec struct {
		Selector  metav1.LabelSelector     `json:"selector"`
		Endpoints []serviceMonitorEndpoint `json:"endpoints"`
	} `json:"spec"`
}

type serviceMonitorEndpoint struct {
	Port            string `json:"port"`
	Path            string `json:"path"`
	Interval        string `json:"interval"`
	ScrapeTimeout   string `json:"scrapeTimeout"`
	Scheme          string `json:"scheme,omitempty"`
	BearerTokenFile string `json:"bearerTokenFile,omitempty"`
	TLSConfig       struct {
		ServerName string `json:"serverName"`
		CA         struct {
			Secret corev1.SecretKeySelector `json:"secret"`
		} `json:"ca"`
	} `json:"tlsConfig,omitzero"`
	MetricRelabelings []map[string]any `json:"metricRelabelings,omitempty"`
}

func (s *serviceMonitor) DeepCopyObject() runtime.Object {
	out := *s
	s.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return &out
}

func addServiceMonitor(s *runtime.Scheme) error {
	s.AddKnownTypeWithName(schema.GroupVersionKind{
		Group: "monitoring.coreos.com", Version: "v1", Kind: "ServiceMonitor",
	}, &serviceMonitor{})
	return nil
}
