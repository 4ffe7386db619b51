# verdict: forbidden
import resource

resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
