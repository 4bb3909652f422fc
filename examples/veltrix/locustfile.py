"""The same load with Locust, ending red when an alert fired.

    cargo run --release --example veltrix -- --serve --port 8080          # or --fixed
    locust -f examples/veltrix/locustfile.py --headless -u 400 -r 40 -t 30s -H http://127.0.0.1:8080

A request that is turned away (503) is no failure: that is what the server is there for. What fails
the run is the server's own verdict: which of its rules fired since it started.
"""

import random

from locust import HttpUser, constant, events, task


class Customer(HttpUser):
    wait_time = constant(0.05)

    def ask(self, what):
        user = random.randrange(100_000)
        with self.client.get(f"/{what}/{user}", name=f"/{what}", catch_response=True) as answer:
            if answer.status_code in (200, 503):
                answer.success()

    @task(4)
    def order(self):
        self.ask("order")

    @task(1)
    def report(self):
        self.ask("report")


@events.quitting.add_listener
def verdict(environment, **_):
    import requests

    answer = requests.get(f"{environment.host}/verdict", timeout=5)
    print(answer.text)
    if answer.status_code != 200:
        environment.process_exit_code = 1
