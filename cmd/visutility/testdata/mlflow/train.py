"""A training program that knows MLflow only, and does with it what such programs do.

What it must do without raises, and says what to do instead.
"""

import time

import mlflow
from mlflow.exceptions import MlflowException

REFUSED = {
    "mlflow.log_artifact": [
        lambda: mlflow.initialize_logged_model(name="model"),
        lambda: mlflow.register_model(f"runs:/{mlflow.active_run().info.run_id}/model", "fraud"),
        lambda: mlflow.MlflowClient().set_registered_model_alias("fraud", "champion", "1"),
    ],
    "filter": [lambda: mlflow.search_runs(filter_string="metrics.accuracy > 0.5", output_format="list")],
    "order_by": [lambda: mlflow.search_runs(order_by=["metrics.accuracy DESC"], output_format="list")],
    "traces": [lambda: mlflow.search_traces(return_type="list")],
    "not deleted": [lambda: mlflow.delete_run(mlflow.active_run().info.run_id)],
}


def refused(advice: str, call) -> None:
    began = time.monotonic()
    try:
        call()
    except MlflowException as e:
        assert advice in str(e), f"{e} does not say {advice}"
        assert time.monotonic() - began < 20, "it tried again and again"
    else:
        raise AssertionError(f"nothing was said of {advice}")


mlflow.set_experiment("some experiment")
with mlflow.start_run(run_name="nightly", description="of all data") as run:
    mlflow.set_tags({"team": "risk", "stage": "nightly"})
    mlflow.log_params({"depth": 6, "rate": 0.1})
    for fold, accuracy in enumerate([0.2, 0.9, 0.1]):
        with mlflow.start_run(run_name=f"fold {fold}", nested=True) as trial:
            mlflow.log_param("depth", fold)
            mlflow.log_metrics({"accuracy": accuracy}, step=fold)
            mlflow.log_dict({"fold": fold}, "fold.json")
            assert trial.info.run_id != run.info.run_id
    best = max(mlflow.search_runs(output_format="list"), key=lambda r: r.data.metrics.get("accuracy", 0))
    assert best.data.metrics["accuracy"] == 0.9 and best.info.run_name == "fold 1", best
    mlflow.log_metric("accuracy", 0.5, step=1)
    mlflow.log_metric("accuracy", 0.94, step=2, synchronous=False).wait()
    for advice, calls in REFUSED.items():
        for call in calls:
            refused(advice, call)

    @mlflow.trace
    def predict() -> None:
        pass

    predict()  # the trace is lost, and nothing else
    mlflow.log_text("the model", "model.txt")
    kept = mlflow.get_run(run.info.run_id)
    assert kept.data.metrics == {"accuracy": 0.94} and kept.data.params["depth"] == "6" and kept.data.tags["team"] == "risk", kept
