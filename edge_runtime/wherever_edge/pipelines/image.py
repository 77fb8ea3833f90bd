from wherever_edge.pipelines.pipeline import StepFactory

STEPS: dict[str, StepFactory] = {}
